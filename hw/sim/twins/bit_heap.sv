// Behavioural twin of hw/rtl/bit_heap.sv: each column counted, the counts added, with the same latency.
module bit_heap #(
  parameter logic [bit_heap_pkg::COLUMNS*bit_heap_pkg::FIELD-1:0] HEIGHTS = '0,
  parameter int SUM_WIDTH = 8,
  localparam int BITS = bit_heap_pkg::base(HEIGHTS, bit_heap_pkg::COLUMNS)
) (
  input  logic                 clk_i,
  input  logic                 en_i,
  input  logic [BITS-1:0]      heap_i,
  output logic [SUM_WIDTH-1:0] sum_o
);
  logic [SUM_WIDTH-1:0] columns[SUM_WIDTH];
  logic [SUM_WIDTH-1:0] sum;
  for (genvar c = 0; c < SUM_WIDTH; c++) begin : g_column
    localparam int COUNT = bit_heap_pkg::height(HEIGHTS, c);
    if (COUNT > 0) begin : g_bits
      assign columns[c] = SUM_WIDTH'($countones(heap_i[bit_heap_pkg::base(HEIGHTS, c)+:COUNT])) << c;
    end else begin : g_zero
      assign columns[c] = '0;
    end
  end
  always_comb begin
    sum = '0;
    for (int c = 0; c < SUM_WIDTH; c++) sum += columns[c];
  end
  delay_line #(.WIDTH(SUM_WIDTH), .CYCLES(bit_heap_pkg::levels(HEIGHTS, SUM_WIDTH))) levels (
    .clk_i, .en_i, .data_i(sum), .data_o(sum_o)
  );
endmodule
