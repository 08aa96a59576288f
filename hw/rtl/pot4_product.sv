// One PoT4 weight times a 4-bit unsigned activation: two LUT levels, seven LUTs for ten bits.
//
// Code {tall, negate, exponent[2:0]}; exponent 7 is the weight 0, tall says that the exponent is 5 or 6. First the
// activation is rotated by exponent[0] and complemented if negative (two bits per LUT6_2). Every bit of the product is
// then a function of two rotated bits of its own parity and of the exponent: five signals, two bits per LUT6_2. Bits 8
// and 9 are only reached by exponents 5 and 6. A negative product lacks -15·|weight|, a constant of the row.
module pot4_product (
  input  logic [4:0] code_i,
  input  logic [3:0] act_i,
  output logic [9:0] product_o
);
`ifdef SYNTHESIS
  // Product bit `position` over {exponent, rotated[parity+2], rotated[parity]}.
  function automatic logic [31:0] shifted(input int position);
    logic [4:0] index;
    logic [3:0] rotated;
    int source;
    for (int i = 0; i < 32; i++) begin
      index = 5'(i);
      rotated = (position % 2 == 0) ? {1'b0, index[1], 1'b0, index[0]} : {index[1], 1'b0, index[0], 1'b0};
      source = position - 32'(index[4:2]);
      shifted[i] = (index[4:2] != 3'd7 && source >= 0 && source < 4) ? rotated[2'(source + 32'(index[2]))] : 1'b0;
    end
  endfunction

  // rotated[j + high] over {negate, exponent[0], act[j+1], act[j], act[j-1]}.
  function automatic logic [31:0] rotating(input int high);
    logic [4:0] index;
    for (int i = 0; i < 32; i++) begin
      index = 5'(i);
      rotating[i] = index[4] ^ (index[3] ? index[high] : index[high+1]);
    end
  endfunction

  // Bits 8 and 9 over {exponent[0], tall, rotated[3], rotated[2], rotated[0]}: 8 is reached by 5 (odd) and 6, 9 by 6.
  function automatic logic [31:0] highest(input int position);
    logic [4:0] index;
    for (int i = 0; i < 32; i++) begin
      index = 5'(i);
      highest[i] = index[3] & ((position == 8) ? (index[4] ? index[0] : index[1]) : (~index[4] & index[2]));
    end
  endfunction

  logic [3:0] rotated;
  logic [2:0] exponent;
  assign exponent = code_i[2:0];
  for (genvar j = 0; j < 4; j += 2) begin : g_rotate
    lut_pair #(.TABLE5(rotating(0)), .TABLE6(rotating(1))) rotate (
      .inputs_i({code_i[3], exponent[0], act_i[j+1], act_i[j], act_i[(j+3)%4]}), .select_i(1'b1),
      .o5_o(rotated[j]), .o6_o(rotated[j+1])
    );
  end
  for (genvar j = 0; j < 2; j++) begin : g_parity
    for (genvar i = j; i < 8; i += 4) begin : g_pair
      lut_pair #(.TABLE5(shifted(i)), .TABLE6(shifted(i + 2))) shift (
        .inputs_i({exponent, rotated[j+2], rotated[j]}), .select_i(1'b1), .o5_o(product_o[i]), .o6_o(product_o[i+2])
      );
    end
  end
  lut_pair #(.TABLE5(highest(8)), .TABLE6(highest(9))) top (
    .inputs_i({exponent[0], code_i[4], rotated[3], rotated[2], rotated[0]}), .select_i(1'b1),
    .o5_o(product_o[8]), .o6_o(product_o[9])
  );
`else
  logic unused_tall;
  assign unused_tall = code_i[4];
  logic [3:0] act;
  assign act = act_i ^ {4{code_i[3]}};
  assign product_o = (code_i[2:0] == 3'd7) ? '0 : {6'b0, act} << code_i[2:0];
`endif
endmodule
