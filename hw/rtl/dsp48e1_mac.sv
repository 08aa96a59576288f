// One DSP48E1 as multiply and add: p = addend + (a [+ d]) * b, the addend from port C or from the cascade.
//
// With SYNTHESIS defined (Yosys and Vivado define it) the primitive is instantiated, else the behavioural twin below,
// which tests/test_dsp48e1_mac.py compares with Yosys' model of the primitive. `en_i` = 0 freezes all registers.
module dsp48e1_mac #(
    parameter int INPUT_REGS = 1,  // registers on a and b: 1 (A2, B2) or 2 (A1, A2, B1, B2)
    parameter bit OUTPUT_REG = 1,  // 1: P is registered; 0: the sum leaves in the product register's cycle
    parameter bit PRE_ADD = 0,     // 1: (a + d) * b through the pre-adder; d is a constant, no register
    parameter bit CASCADE = 0      // 1: the addend is pc_i; 0: it is c_i, not registered
) (
    input  logic        clk_i,
    input  logic        en_i,
    input  logic [24:0] a_i,   // signed
    input  logic [17:0] b_i,   // signed
    input  logic [24:0] d_i,   // signed
    input  logic [47:0] c_i,
    input  logic [47:0] pc_i,  // only from the neighbour's pc_o
    output logic [47:0] p_o,
    output logic [47:0] pc_o   // only to the neighbour's pc_i
);

  if (INPUT_REGS != 1 && INPUT_REGS != 2) begin : g_input_regs
    $error("dsp48e1_mac INPUT_REGS must be 1 or 2");
  end

`ifdef SYNTHESIS
  // Without pre-adder ADREG is not used. At 0 Yosys 0.23 would take two registers before A away (xilinx_dsp) although AREG
  // holds as many already, where one register feeds all of A, as a single weight's does.
  DSP48E1 #(
      .A_INPUT           ("DIRECT"),
      .B_INPUT           ("DIRECT"),
      .USE_DPORT         (PRE_ADD ? "TRUE" : "FALSE"),
      .USE_MULT          ("MULTIPLY"),
      .USE_SIMD          ("ONE48"),
      .AUTORESET_PATDET  ("NO_RESET"),
      .MASK              (48'h3FFFFFFFFFFF),
      .PATTERN           (48'h000000000000),
      .SEL_MASK          ("MASK"),
      .SEL_PATTERN       ("PATTERN"),
      .USE_PATTERN_DETECT("NO_PATDET"),
      .ACASCREG          (INPUT_REGS),
      .ADREG             (PRE_ADD ? 0 : 1),
      .ALUMODEREG        (0),
      .AREG              (INPUT_REGS),
      .BCASCREG          (INPUT_REGS),
      .BREG              (INPUT_REGS),
      .CARRYINREG        (0),
      .CARRYINSELREG     (0),
      .CREG              (0),
      .DREG              (0),
      .INMODEREG         (0),
      .MREG              (1),
      .OPMODEREG         (0),
      .PREG              (OUTPUT_REG ? 1 : 0)
  ) dsp (
      .CLK          (clk_i),
      .A            ({{5{a_i[24]}}, a_i}),
      .B            (b_i),
      .C            (CASCADE ? {48{1'b1}} : c_i),
      .D            (PRE_ADD ? d_i : {25{1'b1}}),
      .PCIN         (CASCADE ? pc_i : 48'd0),
      .ACIN         (30'd0),
      .BCIN         (18'd0),
      .CARRYCASCIN  (1'b0),
      .CARRYIN      (1'b0),
      .CARRYINSEL   (3'b000),
      .MULTSIGNIN   (1'b0),
      .ALUMODE      (4'b0000),                            // Z + X + Y
      .INMODE       (PRE_ADD ? 5'b00100 : 5'b00000),      // A2 [+ D], B2
      .OPMODE       (CASCADE ? 7'b0010101 : 7'b0110101),  // Z = PCIN or C; X, Y = the product
      .CEA1         (INPUT_REGS == 2 ? en_i : 1'b0),
      .CEA2         (en_i),
      .CEB1         (INPUT_REGS == 2 ? en_i : 1'b0),
      .CEB2         (en_i),
      .CEAD         (1'b0),
      .CEALUMODE    (1'b0),
      .CEC          (1'b0),
      .CECARRYIN    (1'b0),
      .CECTRL       (1'b0),
      .CED          (1'b0),
      .CEINMODE     (1'b0),
      .CEM          (en_i),
      .CEP          (OUTPUT_REG ? en_i : 1'b0),
      .RSTA         (1'b0),
      .RSTALLCARRYIN(1'b0),
      .RSTALUMODE   (1'b0),
      .RSTB         (1'b0),
      .RSTC         (1'b0),
      .RSTCTRL      (1'b0),
      .RSTD         (1'b0),
      .RSTINMODE    (1'b0),
      .RSTM         (1'b0),
      .RSTP         (1'b0),
      .P            (p_o),
      .PCOUT        (pc_o),
      .ACOUT        (),
      .BCOUT        (),
      .CARRYCASCOUT (),
      .CARRYOUT     (),
      .MULTSIGNOUT  (),
      .OVERFLOW     (),
      .UNDERFLOW    (),
      .PATTERNDETECT(),
      .PATTERNBDETECT()
  );
`else
  logic signed [24:0] a_q, a_add;
  logic signed [17:0] b_q;
  logic signed [42:0] m_q;
  logic        [47:0] sum;

  if (INPUT_REGS == 2) begin : g_two
    logic [24:0] a1_q;
    logic [17:0] b1_q;
    always_ff @(posedge clk_i)
      if (en_i) begin
        {a1_q, b1_q} <= {a_i, b_i};
        {a_q, b_q}   <= {a1_q, b1_q};
      end
  end else begin : g_one
    always_ff @(posedge clk_i) if (en_i) {a_q, b_q} <= {a_i, b_i};
  end

  assign a_add = PRE_ADD ? a_q + $signed(d_i) : a_q;
  always_ff @(posedge clk_i) if (en_i) m_q <= a_add * b_q;
  assign sum = (CASCADE ? pc_i : c_i) + {{5{m_q[42]}}, m_q};

  if (OUTPUT_REG) begin : g_output
    always_ff @(posedge clk_i) if (en_i) p_o <= sum;
  end else begin : g_no_output
    assign p_o = sum;
  end
  assign pc_o = p_o;
`endif

endmodule
