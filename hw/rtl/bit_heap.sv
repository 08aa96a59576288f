// Pipelined sum of a heap of bits by chains of ternary adders, a register after every level.
//
// heap_i holds the columns one after the other, column 0 (bits worth 1) first; `bit_heap_pkg` tells where chains lie.
// A LUT removes two bits where a chain is long: a first column of four bits and a last one with one leave nothing idle.
module bit_heap #(
  // bits of each column, in fields of bit_heap_pkg::FIELD bits
  parameter logic [bit_heap_pkg::COLUMNS*bit_heap_pkg::FIELD-1:0] HEIGHTS = '0,
  // bits of the sum, which must not overflow
  parameter int SUM_WIDTH = 8,
  localparam int BITS = bit_heap_pkg::base(HEIGHTS, bit_heap_pkg::COLUMNS)
) (
  input  logic                 clk_i,
  input  logic                 en_i,
  input  logic [BITS-1:0]      heap_i,
  output logic [SUM_WIDTH-1:0] sum_o
);
  localparam int CHAINS = bit_heap_pkg::chains(HEIGHTS);
  localparam int LAST_START = bit_heap_pkg::last_adder_start(HEIGHTS);

  if (CHAINS > 0) begin : g_level
    localparam logic [bit_heap_pkg::COLUMNS*bit_heap_pkg::FIELD-1:0] NEXT = bit_heap_pkg::next_heights(HEIGHTS, SUM_WIDTH);
    localparam logic [bit_heap_pkg::COLUMNS*bit_heap_pkg::FIELD-1:0] LEFT = bit_heap_pkg::left_after(HEIGHTS, CHAINS);
    localparam int NEXT_BITS = bit_heap_pkg::base(NEXT, bit_heap_pkg::COLUMNS);
    logic [NEXT_BITS-1:0] next, next_q;

    for (genvar k = 0; k < CHAINS; k++) begin : g_chain
      localparam logic [bit_heap_pkg::COLUMNS*bit_heap_pkg::FIELD-1:0] BEFORE = bit_heap_pkg::left_after(HEIGHTS, k);
      localparam logic [bit_heap_pkg::COLUMNS*bit_heap_pkg::FIELD-1:0] MADE = bit_heap_pkg::made_by(HEIGHTS, k, SUM_WIDTH);
      localparam int FIRST = bit_heap_pkg::chain_start(BEFORE);
      localparam int LAST = bit_heap_pkg::chain_end(BEFORE);
      localparam int WIDTH = LAST - FIRST;
      localparam int EXTRA = bit_heap_pkg::base(HEIGHTS, FIRST + 1) - bit_heap_pkg::height(BEFORE, FIRST) + 3;
      logic [WIDTH-1:0] a, b, c;
      logic top;
      logic [WIDTH+1:0] sum;
      for (genvar i = 0; i < WIDTH; i++) begin : g_column
        localparam int FROM = bit_heap_pkg::base(HEIGHTS, FIRST + i + 1) - bit_heap_pkg::height(BEFORE, FIRST + i);
        assign {c[i], b[i], a[i]} = heap_i[FROM+:3];
      end
      if (bit_heap_pkg::height(BEFORE, LAST) > 0) begin : g_top
        assign top = heap_i[bit_heap_pkg::base(HEIGHTS, LAST + 1) - bit_heap_pkg::height(BEFORE, LAST)];
      end else begin : g_no_top
        assign top = 1'b0;
      end
      ternary_chain #(.WIDTH(WIDTH)) chain (.a_i(a), .b_i(b), .c_i(c), .extra_i(heap_i[EXTRA]), .top_i(top), .sum_o(sum));
      for (genvar i = 0; i < WIDTH + 2 && FIRST + i < SUM_WIDTH; i++) begin : g_sum
        localparam int TO = bit_heap_pkg::base(NEXT, FIRST + i) + bit_heap_pkg::height(MADE, FIRST + i);
        assign next[TO] = sum[i];
      end
    end
    for (genvar c = 0; c < SUM_WIDTH; c++) begin : g_waiting
      localparam int COUNT = bit_heap_pkg::height(LEFT, c);
      if (COUNT > 0) begin : g_some
        assign next[bit_heap_pkg::base(NEXT, c+1)-1-:COUNT] = heap_i[bit_heap_pkg::base(HEIGHTS, c+1)-1-:COUNT];
      end
    end

    always_ff @(posedge clk_i) if (en_i) next_q <= next;
    bit_heap #(.HEIGHTS(NEXT), .SUM_WIDTH(SUM_WIDTH)) rest (.clk_i, .en_i, .heap_i(next_q), .sum_o);
  end else begin : g_last
    logic [SUM_WIDTH-1:0] a, b, c;
    for (genvar i = 0; i < SUM_WIDTH; i++) begin : g_column
      localparam int COUNT = bit_heap_pkg::height(HEIGHTS, i);
      localparam int FROM = bit_heap_pkg::base(HEIGHTS, i);
      if (COUNT > 0) begin : g_a
        assign a[i] = heap_i[FROM];
      end else begin : g_no_a
        assign a[i] = 1'b0;
      end
      if (COUNT > 1) begin : g_b
        assign b[i] = heap_i[FROM+1];
      end else begin : g_no_b
        assign b[i] = 1'b0;
      end
      if (COUNT > 2) begin : g_c
        assign c[i] = heap_i[FROM+2];
      end else begin : g_no_c
        assign c[i] = 1'b0;
      end
    end
    if (LAST_START >= SUM_WIDTH) begin : g_done
      assign sum_o = a;
    end else begin : g_adder
      localparam int WIDTH = SUM_WIDTH - LAST_START;
      logic [SUM_WIDTH-1:0] sum, sum_q;
      ternary_chain #(.WIDTH(WIDTH), .SUM_WIDTH(WIDTH)) chain (
        .a_i(a[LAST_START+:WIDTH]), .b_i(b[LAST_START+:WIDTH]), .c_i(c[LAST_START+:WIDTH]), .extra_i(1'b0), .top_i(1'b0),
        .sum_o(sum[LAST_START+:WIDTH])
      );
      if (LAST_START > 0) begin : g_low
        assign sum[LAST_START-1:0] = a[LAST_START-1:0];
      end
      always_ff @(posedge clk_i) if (en_i) sum_q <= sum;
      assign sum_o = sum_q;
    end
  end
endmodule
