// TK DSPs, one per lane, whose products hold FIELDS (1, 2 or 4) packed products each, and the accumulators of the fields.
//
// P = a*b + c runs through chains of CHAIN DSPs. A field of w bits holds an offset + the sum of its products, which makes
// it non-negative: no field borrows from the next one, no repair. After SEGMENT lanes a narrow field would overflow. So
// there P leaves the cascade and enters the next DSP by port C with the narrow fields split: the low k bits go on, with
// the offset put in again (a constant bit); the upper w-k bits are a digit that is added up in LUTs. With the offset
// 2^(w-1) this takes
//     2^k + SEGMENT * MAX <= 2^(w-1)
// and the adders see w-k bits per segment instead of w. Where k = w-2 the offset 2^k does, and a digit is 0, 1 or 2.
// Wide fields (the top one, always) are never split.
//
// One heap of bits per field adds the digits and the chains' ends. The sum has an offset of a power of two, which the
// accumulator takes away.
module dsp_column #(
  // DSPs: products added per cycle and field
  parameter int TK         = 16,
  // DSPs in one cascade
  parameter int CHAIN      = 16,
  // DSPs between two P registers
  parameter int STAGE      = 2,
  // DSPs after which narrow fields are split
  parameter int SEGMENT    = 8,
  // packed products per DSP: at bit 0, at 0, STEP_HIGH, or at 0, STEP_LOW, STEP_HIGH, STEP_HIGH + STEP_LOW
  parameter int FIELDS     = 4,
  parameter int STEP_LOW   = 10,
  parameter int STEP_HIGH  = 20,
  // the largest magnitude of a product
  parameter int MAX        = 56,
  // what the pre-adder adds to a; 0: no pre-adder
  parameter int A_OFFSET   = 0,
  parameter int ACC_BITS   = 32,
  // bits by which shift_i multiplies
  parameter int SHIFT      = 4,
  // cycles by which sums wait for those of slower arrays
  parameter int WAIT       = 0,
  // only in tests that must fail: products too many per segment, bits too few below the top field
  parameter int UNSAFE_PRODUCTS = 0,
  parameter int UNSAFE_BITS     = 0
) (
  input  logic                       clk_i,
  input  logic                       en_i,
  // with the first lane's operands
  input  logic                       clear_i,
  input  logic                       shift_i,
  // lane l of a chain: l / STAGE cycles later than lane 0, one of them inside the DSP
  input  logic [TK*25-1:0]           a_i,
  input  logic [TK*18-1:0]           b_i,
  output logic [FIELDS*ACC_BITS-1:0] acc_o
);
  localparam int CHAINS = TK / CHAIN;
  localparam int LENGTH = SEGMENT + UNSAFE_PRODUCTS;
  localparam int SEGMENTS = (CHAIN + LENGTH - 1) / LENGTH;
  localparam int LOW = STEP_LOW - UNSAFE_BITS;
  localparam int HIGH = STEP_HIGH - UNSAFE_BITS;
  localparam int LEVELS = dsp_packing::levels(TK, FIELDS, STEP_LOW, STEP_HIGH, CHAIN, SEGMENT, MAX);
  localparam int LATENCY = dsp_packing::latency(TK, STAGE, FIELDS, STEP_LOW, STEP_HIGH, CHAIN, SEGMENT, MAX);

  if (TK % CHAIN != 0) begin : g_bad_chain
    $error("dsp_column TK must be a multiple of CHAIN");
  end

  // Sizes of the fields; the tests that must fail change positions and widths, not what is kept.
  function automatic bit split(input int field);
    split = dsp_packing::split(field, FIELDS, STEP_LOW, STEP_HIGH, CHAIN, SEGMENT, MAX);
  endfunction
  function automatic int kept(input int field);
    kept = dsp_packing::kept(field, FIELDS, STEP_LOW, STEP_HIGH, CHAIN, SEGMENT, MAX);
  endfunction
  function automatic int width(input int field);
    width = dsp_packing::width(field, FIELDS, STEP_LOW, STEP_HIGH, CHAIN, SEGMENT, MAX);
    if (width > dsp_packing::room(field, FIELDS, LOW, HIGH)) width = dsp_packing::room(field, FIELDS, LOW, HIGH);
  endfunction
  function automatic int offset_bit(input int field);
    offset_bit = dsp_packing::offset_bit(field, FIELDS, STEP_LOW, STEP_HIGH, CHAIN, SEGMENT, MAX);
    if (offset_bit > width(field) - 1) offset_bit = width(field) - 1;
  endfunction

  // P of every lane, and of every segment's last lane when the chain's end has arrived.
  logic [TK*48-1:0] p, cascade;
  logic [CHAINS*SEGMENTS*48-1:0] ends;

  for (genvar l = 0; l < TK; l++) begin : g_lane
    localparam int PLACE = l % CHAIN;
    localparam int SEGMENT_OF = l / CHAIN * SEGMENTS + PLACE / LENGTH;
    localparam bit HEAD = PLACE % LENGTH == 0;
    localparam bit TAIL = PLACE % LENGTH == LENGTH - 1 || PLACE == CHAIN - 1;
    localparam bit REGISTERED = PLACE % STAGE == STAGE - 1 || PLACE == CHAIN - 1;
    logic [47:0] addend;
    if (HEAD) begin : g_head
      for (genvar f = 0; f < FIELDS; f++) begin : g_field
        localparam int AT = dsp_packing::position(f, FIELDS, LOW, HIGH);
        localparam int ROOM = dsp_packing::room(f, FIELDS, LOW, HIGH);
        localparam int KEPT = kept(f);
        localparam logic [ROOM-1:0] OFFSET = ROOM'(1) << offset_bit(f);
        if (PLACE == 0) begin : g_first
          assign addend[AT+:ROOM] = OFFSET;
        end else if (KEPT > 0) begin : g_split
          assign addend[AT+:ROOM] = {OFFSET[ROOM-1:KEPT], p[(l-1)*48+AT+:KEPT]};
        end else begin : g_whole
          assign addend[AT+:ROOM] = p[(l-1)*48+AT+:ROOM];
        end
      end
    end else begin : g_inner
      assign addend = 48'd0;
    end
    dsp48e1_mac #(
      .INPUT_REGS((PLACE < STAGE) ? 1 : 2), .OUTPUT_REG(REGISTERED), .PRE_ADD(A_OFFSET != 0), .CASCADE(!HEAD)
    ) dsp (
      .clk_i, .en_i, .a_i(a_i[l*25+:25]), .b_i(b_i[l*18+:18]), .d_i(25'(A_OFFSET)), .c_i(addend),
      .pc_i(cascade[(HEAD?l:l-1)*48+:48]), .p_o(p[l*48+:48]), .pc_o(cascade[l*48+:48])
    );
    // A digit waits for the end of the chain; behind a P without register the first cycle stands for that register.
    if (TAIL) begin : g_tail
      delay_line #(.WIDTH(48), .CYCLES((CHAIN - 1) / STAGE - PLACE / STAGE + (REGISTERED ? 0 : 1))) wait_line (
        .clk_i, .en_i, .data_i(p[l*48+:48]), .data_o(ends[SEGMENT_OF*48+:48])
      );
    end
  end

  logic clear, shift;
  delay_line #(.WIDTH(2), .CYCLES(LATENCY - 1 + WAIT)) control_line (
    .clk_i, .en_i, .data_i({clear_i, shift_i}), .data_o({clear, shift})
  );

  for (genvar f = 0; f < FIELDS; f++) begin : g_field
    localparam int AT = dsp_packing::position(f, FIELDS, LOW, HIGH);
    localparam int WIDTH = width(f);
    localparam int KEPT = kept(f);
    localparam int OFFSET_BIT = offset_bit(f);
    localparam int PARTS = dsp_packing::parts(split(f), CHAIN, LENGTH);
    localparam int COUNT = CHAINS * PARTS;
    localparam int SUM_WIDTH = dsp_packing::sum_width(COUNT, OFFSET_BIT);
    localparam int ROUNDING = dsp_packing::rounding(COUNT, OFFSET_BIT);
    localparam logic [bit_heap_pkg::COLUMNS*bit_heap_pkg::FIELD-1:0] HEIGHTS =
        dsp_packing::heights(CHAINS, PARTS, KEPT, WIDTH, OFFSET_BIT);
    localparam bit FITS = (KEPT > 0) ? SEGMENT * MAX + (1 << KEPT) <= (1 << (WIDTH - 1)) : CHAIN * MAX < (1 << (WIDTH - 1));
    if (!FITS && UNSAFE_PRODUCTS == 0 && UNSAFE_BITS == 0) begin : g_bad_field
      $error("dsp_column: a field is too narrow for the sum of SEGMENT products; lower SEGMENT");
    end
    if (SUM_WIDTH > bit_heap_pkg::COLUMNS) begin : g_bad_heap
      $error("dsp_column: the sum of TK products is wider than a heap of bits; lower TK");
    end

    logic [bit_heap_pkg::base(HEIGHTS, bit_heap_pkg::COLUMNS)-1:0] heap;
    logic [SUM_WIDTH-1:0] sum;
    for (genvar b = 0; b < SUM_WIDTH; b++) begin : g_column
      localparam int FROM = bit_heap_pkg::base(HEIGHTS, b);
      localparam int FIRST = (b < KEPT) ? PARTS - 1 : 0;
      for (genvar c = 0; c < CHAINS && b < WIDTH; c++) begin : g_chain
        for (genvar s = FIRST; s < PARTS; s++) begin : g_part
          assign heap[FROM+c*(PARTS-FIRST)+s-FIRST] = ends[(c*SEGMENTS+SEGMENTS-PARTS+s)*48+AT+b];
        end
      end
      if ((ROUNDING >> b & 1) != 0) begin : g_rounding
        assign heap[bit_heap_pkg::base(HEIGHTS, b+1)-1] = 1'b1;
      end
    end
    bit_heap #(.HEIGHTS(HEIGHTS), .SUM_WIDTH(SUM_WIDTH)) adder (.clk_i, .en_i, .heap_i(heap), .sum_o(sum));
    accumulator #(
      .ACC_BITS(ACC_BITS), .SUM_BITS(SUM_WIDTH), .SHIFT(SHIFT), .OFFSET(1'b1), .WAIT(WAIT + LEVELS - bit_heap_pkg::levels(HEIGHTS, SUM_WIDTH))
    ) acc (
      .clk_i, .en_i, .clear_i(clear), .shift_i(shift), .sum_i(sum), .acc_o(acc_o[f*ACC_BITS+:ACC_BITS])
    );
  end
endmodule
