// One function of six signals in one LUT6: written out where the synthesiser would find a larger form.
module lut_single #(
  // value of out_o for each input, bit index = inputs_i
  parameter logic [63:0] TABLE = '0
) (
  input  logic [5:0] inputs_i,
  output logic       out_o
);
`ifdef SYNTHESIS
  LUT6 #(.INIT(TABLE)) lut (
    .O(out_o), .I0(inputs_i[0]), .I1(inputs_i[1]), .I2(inputs_i[2]), .I3(inputs_i[3]), .I4(inputs_i[4]), .I5(inputs_i[5])
  );
`else
  assign out_o = TABLE[inputs_i];
`endif
endmodule
