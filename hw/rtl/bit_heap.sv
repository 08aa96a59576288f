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
  // verilator lint_off UNUSEDSIGNAL
  // (by a heap that is a sum already)
  input  logic                 clk_i,
  input  logic                 en_i,
  // verilator lint_on UNUSEDSIGNAL
  input  logic [BITS-1:0]      heap_i,
  output logic [SUM_WIDTH-1:0] sum_o
);
  localparam int CHAINS = bit_heap_pkg::chains(HEIGHTS);
  localparam int LAST_START = bit_heap_pkg::last_adder_start(HEIGHTS, SUM_WIDTH);

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
      // verilator lint_off UNUSEDSIGNAL
      logic [WIDTH+1:0] sum;  // zero above SUM_WIDTH
      // verilator lint_on UNUSEDSIGNAL
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
    // Columns with a single bit below the last adder are already bits of the sum.
    localparam int ADDED = SUM_WIDTH - LAST_START;
    logic [SUM_WIDTH-1:0] sum;
    for (genvar i = 0; i < SUM_WIDTH - ADDED; i++) begin : g_single
      if (bit_heap_pkg::height(HEIGHTS, i) > 0) begin : g_bit
        assign sum[i] = heap_i[bit_heap_pkg::base(HEIGHTS, i)];
      end else begin : g_zero
        assign sum[i] = 1'b0;
      end
    end
    if (ADDED == 0) begin : g_done
      assign sum_o = sum;
    end else begin : g_adder
      logic [2:0] column[ADDED];
      logic [ADDED-1:0] a, b, c;
      logic [SUM_WIDTH-1:0] sum_q;
      for (genvar i = 0; i < ADDED; i++) begin : g_column
        localparam int COUNT = bit_heap_pkg::height(HEIGHTS, LAST_START + i);
        if (COUNT > 0) begin : g_bits
          assign column[i] = 3'(heap_i[bit_heap_pkg::base(HEIGHTS, LAST_START+i)+:COUNT]);
        end else begin : g_zero
          assign column[i] = '0;
        end
        assign {c[i], b[i], a[i]} = column[i];
      end
      ternary_chain #(.WIDTH(ADDED), .SUM_WIDTH(ADDED)) chain (
        .a_i(a), .b_i(b), .c_i(c), .extra_i(1'b0), .top_i(1'b0), .sum_o(sum[LAST_START+:ADDED])
      );
      always_ff @(posedge clk_i) if (en_i) sum_q <= sum;
      assign sum_o = sum_q;
    end
  end
endmodule
