// TK DSPs, one per lane, whose products hold FIELDS (2 or 4) packed products each, and the accumulators of the fields.
//
// Chain. P = a*b + c runs through CHAIN DSPs. A field of w bits holds 2^(w-1) + the sum of its products, which makes it
// non-negative: no field borrows from the next one, no repair. After SEGMENT lanes a field would overflow, so there P
// leaves the cascade and enters the next DSP by port C with each narrow field split: its low k bits go on, with the
// offset 2^(w-1) put in again (a constant bit), its upper w-k bits are a digit that is added up in LUTs. This takes
//     2^k + SEGMENT * MAX <= 2^(w-1)
// and costs w-k bits of adder per segment instead of w. Wide fields (the top one, always) are never split.
//
// Every sum that reaches an accumulator is unsigned with an offset of a power of two, taken away in there.
module dsp_column #(
  // DSPs: products added per cycle and field
  parameter int TK         = 16,
  // DSPs in one cascade
  parameter int CHAIN      = 16,
  // DSPs between two P registers
  parameter int STAGE      = 2,
  // DSPs after which narrow fields are split
  parameter int SEGMENT    = 8,
  // packed products per DSP: at bits 0, STEP_HIGH, or at 0, STEP_LOW, STEP_HIGH, STEP_HIGH + STEP_LOW
  parameter int FIELDS     = 4,
  parameter int STEP_LOW   = 10,
  parameter int STEP_HIGH  = 20,
  // the largest magnitude of a product
  parameter int MAX        = 56,
  // a is added to A_OFFSET in the pre-adder; 0: no pre-adder
  parameter int A_OFFSET   = 0,
  parameter int ACC_BITS   = 32,
  // bits of shift_i
  parameter int SHIFT      = 4,
  // only in tests that must fail: products too many per segment, bits too few below the top field
  parameter int UNSAFE_PRODUCTS = 0,
  parameter int UNSAFE_BITS     = 0
) (
  input  logic                       clk_i,
  input  logic                       en_i,
  // beside the sums: TK's latency later than the operands of the first lane
  input  logic                       clear_i,
  input  logic                       shift_i,
  // lane l of a chain: l / STAGE cycles later than lane 0, one of them inside the DSP
  input  logic [TK*25-1:0]           a_i,
  input  logic [TK*18-1:0]           b_i,
  output logic [FIELDS*ACC_BITS-1:0] acc_o
);
  localparam int CHAINS = TK / CHAIN;
  localparam int STAGES = (CHAIN + STAGE - 1) / STAGE;
  localparam int LENGTH = SEGMENT + UNSAFE_PRODUCTS;
  localparam bit UNSAFE = UNSAFE_PRODUCTS != 0 || UNSAFE_BITS != 0;
  localparam int SEGMENTS = dsp_packing::segments(CHAIN, LENGTH);
  localparam int DIGIT_DEPTH = dsp_packing::tree_depth(SEGMENTS);
  localparam int CHAIN_DEPTH = dsp_packing::tree_depth(CHAINS);

  if (TK % CHAIN != 0) begin : g_bad_chain
    $error("dsp_column TK must be a multiple of CHAIN");
  end

  // Bits of the sum of a chain.
  localparam int NEEDED = $clog2(CHAIN * MAX + 1) + 1;
  // Position of each field, bits to the next, whether a chain's sum needs more than these, and the bits taken.
  function automatic int position(input int field);
    position = (FIELDS == 4) ? (field % 2) * (STEP_LOW - UNSAFE_BITS) + (field / 2) * (STEP_HIGH - UNSAFE_BITS)
                             : field * (STEP_HIGH - UNSAFE_BITS);
  endfunction
  function automatic int room(input int field);
    room = ((field == FIELDS - 1) ? 48 : position(field + 1)) - position(field);
  endfunction
  function automatic bit split(input int field);
    split = CHAIN > LENGTH && NEEDED > room(field);
  endfunction
  function automatic int width(input int field);
    width = (split(field) || UNSAFE && NEEDED > room(field)) ? room(field) : NEEDED;
  endfunction
  // Low bits of a split field that stay in the chain: the largest k of the formula above.
  function automatic int kept(input int field);
    int left;
    begin
      left = (1 << (width(field) + ((field == 1) ? 0 : UNSAFE_BITS) - 1)) - SEGMENT * MAX;
      kept = (left < 2) ? 1 : $clog2(left + 1) - 1;
    end
  endfunction
  // What enters port C at the head of a chain: half the range in each field.
  function automatic logic [47:0] head_offset();
    int field;
    begin
      head_offset = 48'd0;
      for (field = 0; field < FIELDS; field = field + 1)
        head_offset = head_offset | (48'd1 << (position(field) + width(field) - 1));
    end
  endfunction
  localparam logic [47:0] OFFSETS = head_offset();

  // Sums of the chains' fields and their digits, beside each other.
  logic [CHAINS*48-1:0] last_p;
  logic [CHAINS*SEGMENTS*48-1:0] split_p;

  for (genvar c = 0; c < CHAINS; c++) begin : g_chain
    logic [(CHAIN+1)*48-1:0] cascade;
    logic [CHAIN*48-1:0] p;
    assign cascade[47:0] = 48'd0;
    for (genvar l = 0; l < CHAIN; l++) begin : g_lane
      localparam bit HEAD = l % LENGTH == 0;
      localparam bit TAIL = l % LENGTH == LENGTH - 1 && l != CHAIN - 1;
      localparam bit REGISTERED = l % STAGE == STAGE - 1 || l == CHAIN - 1;
      logic [47:0] addend;
      if (l == 0) begin : g_first
        assign addend = OFFSETS;
      end else if (HEAD) begin : g_head
        for (genvar f = 0; f < FIELDS; f++) begin : g_field
          localparam int AT = position(f);
          localparam int ROOM = room(f);
          if (split(f)) begin : g_split
            localparam int KEPT = kept(f);
            assign addend[AT+:ROOM] = {1'b1, {(ROOM - 1 - KEPT) {1'b0}}, p[(l-1)*48+AT+:KEPT]};
          end else begin : g_whole
            assign addend[AT+:ROOM] = p[(l-1)*48+AT+:ROOM];
          end
        end
      end else begin : g_inner
        assign addend = 48'd0;
      end
      dsp48e1_mac #(
        .INPUT_REGS((l < STAGE) ? 1 : 2), .OUTPUT_REG(REGISTERED), .PRE_ADD(A_OFFSET != 0), .CASCADE(!HEAD)
      ) dsp (
        .clk_i, .en_i, .a_i(a_i[(c*CHAIN+l)*25+:25]), .b_i(b_i[(c*CHAIN+l)*18+:18]), .d_i(25'(A_OFFSET)),
        .c_i(addend), .pc_i(cascade[l*48+:48]), .p_o(p[l*48+:48]), .pc_o(cascade[(l+1)*48+:48])
      );
      // A digit waits for the end of the chain; behind a P without register the first cycle stands for that register.
      if (TAIL) begin : g_tail
        delay_line #(.WIDTH(48), .CYCLES(STAGES - 1 - l / STAGE + (REGISTERED ? 0 : 1))) wait_line (
          .clk_i, .en_i, .data_i(p[l*48+:48]), .data_o(split_p[(c*SEGMENTS+l/LENGTH)*48+:48])
        );
      end
    end
    assign split_p[(c*SEGMENTS+SEGMENTS-1)*48+:48] = p[(CHAIN-1)*48+:48];
    assign last_p[c*48+:48] = p[(CHAIN-1)*48+:48];
  end

  for (genvar f = 0; f < FIELDS; f++) begin : g_field
    localparam int AT = position(f);
    localparam int WIDTH = width(f);
    localparam bit SPLIT = split(f);
    localparam int KEPT = SPLIT ? kept(f) : 0;
    localparam int DIGIT = WIDTH - KEPT;
    localparam int PARTS = SPLIT ? SEGMENTS : 1;
    if (!UNSAFE && (WIDTH > room(f) || SPLIT && SEGMENT * MAX + (1 << KEPT) > (1 << (WIDTH - 1)))) begin : g_bad_field
      $error("dsp_column: a field is too narrow for the sum of SEGMENT products; lower SEGMENT");
    end

    // The sum of a chain: 2^TOP + products, TOP + 1 bits. With an odd number of segments the offset is made a power of 2.
    localparam int TOP = WIDTH - 1 + $clog2(PARTS);
    localparam int MISSING = ((1 << $clog2(PARTS)) - PARTS) << (DIGIT - 1);
    localparam int HIGH = dsp_packing::sum_bits(PARTS, DIGIT);
    logic [CHAINS*(TOP+1)-1:0] chain_sum;
    for (genvar c = 0; c < CHAINS; c++) begin : g_chain
      logic [PARTS*DIGIT-1:0] digits;
      logic [HIGH-1:0] high;
      logic [TOP:KEPT] high_sum;
      for (genvar s = 0; s < PARTS; s++) begin : g_digit
        assign digits[s*DIGIT+:DIGIT] = split_p[(c*SEGMENTS+SEGMENTS-PARTS+s)*48+AT+KEPT+:DIGIT];
      end
      sum_tree #(.OPERANDS(PARTS), .BITS(DIGIT), .DEPTH(DIGIT_DEPTH)) tree (.clk_i, .en_i, .data_i(digits), .sum_o(high));
      assign high_sum = (TOP+1-KEPT)'(high + HIGH'(MISSING));
      assign chain_sum[c*(TOP+1)+KEPT+:TOP+1-KEPT] = high_sum;
      if (KEPT > 0) begin : g_low
        delay_line #(.WIDTH(KEPT), .CYCLES(DIGIT_DEPTH)) low_line (
          .clk_i, .en_i, .data_i(last_p[c*48+AT+:KEPT]), .data_o(chain_sum[c*(TOP+1)+:KEPT])
        );
      end
    end

    // The sum of all chains, the same way.
    localparam int SUM_TOP = TOP + $clog2(CHAINS);
    localparam int SUM_MISSING = (1 << $clog2(CHAINS)) - CHAINS;
    localparam int WIDE = dsp_packing::sum_bits(CHAINS, TOP + 1);
    logic [WIDE-1:0] wide;
    logic [SUM_TOP:0] sum;
    sum_tree #(.OPERANDS(CHAINS), .BITS(TOP + 1), .DEPTH(CHAIN_DEPTH)) tree (
      .clk_i, .en_i, .data_i(chain_sum), .sum_o(wide)
    );
    assign sum = (SUM_TOP+1)'(wide + WIDE'(SUM_MISSING << TOP));
    accumulator #(.ACC_BITS(ACC_BITS), .SUM_BITS(SUM_TOP + 1), .SHIFT(SHIFT)) acc (
      .clk_i, .en_i, .clear_i, .shift_i, .sum_i(sum), .acc_o(acc_o[f*ACC_BITS+:ACC_BITS])
    );
  end
endmodule
