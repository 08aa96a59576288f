// A carry chain of any length: sum = propagate ^ carry, carry' = propagate ? carry : generate. CARRY4 in synthesis.
module carry_chain #(
  // positions of the chain
  parameter int WIDTH = 4
) (
  input  logic             carry_i,
  input  logic [WIDTH-1:0] propagate_i,
  input  logic [WIDTH-1:0] generate_i,
  output logic [WIDTH-1:0] sum_o,
  output logic             carry_o
);
`ifdef SYNTHESIS
  localparam int CELLS = (WIDTH + 3) / 4;
  logic [4*CELLS-1:0] propagate, generated, sum, carry;
  assign propagate = (4*CELLS)'(propagate_i);
  assign generated = (4*CELLS)'(generate_i);
  for (genvar c = 0; c < CELLS; c++) begin : g_cell
    if (c == 0) begin : g_first
      CARRY4 chain (.CI(1'b0), .CYINIT(carry_i), .S(propagate[3:0]), .DI(generated[3:0]), .O(sum[3:0]), .CO(carry[3:0]));
    end else begin : g_next
      CARRY4 chain (.CI(carry[4*c-1]), .CYINIT(1'b0), .S(propagate[4*c+:4]), .DI(generated[4*c+:4]),
                    .O(sum[4*c+:4]), .CO(carry[4*c+:4]));
    end
  end
  assign sum_o = sum[WIDTH-1:0];
  assign carry_o = carry[WIDTH-1];
`else
  logic [WIDTH:0] carry;
  assign carry[0] = carry_i;
  for (genvar i = 0; i < WIDTH; i++) begin : g_bit
    assign sum_o[i] = propagate_i[i] ^ carry[i];
    assign carry[i+1] = propagate_i[i] ? carry[i] : generate_i[i];
  end
  assign carry_o = carry[WIDTH];
`endif
endmodule
