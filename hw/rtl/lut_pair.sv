// Two functions of the same five signals in one LUT6_2; O6 may also depend on a sixth (`select_i` = 1 takes TABLE6).
module lut_pair #(
  // value of o5_o for each input, bit index = inputs_i
  parameter logic [31:0] TABLE5 = '0,
  // value of o6_o while select_i = 1; while it is 0, o6_o equals o5_o
  parameter logic [31:0] TABLE6 = '0
) (
  input  logic [4:0] inputs_i,
  input  logic       select_i,
  output logic       o5_o,
  output logic       o6_o
);
`ifdef SYNTHESIS
  LUT6_2 #(.INIT({TABLE6, TABLE5})) lut (
    .O6(o6_o), .O5(o5_o),
    .I0(inputs_i[0]), .I1(inputs_i[1]), .I2(inputs_i[2]), .I3(inputs_i[3]), .I4(inputs_i[4]), .I5(select_i)
  );
`else
  assign o5_o = TABLE5[inputs_i];
  assign o6_o = select_i ? TABLE6[inputs_i] : TABLE5[inputs_i];
`endif
endmodule
