// The row tiles of the operations, as headers from the weight loader (which checks them), in the order in which the core
// needs them.
//
// Position-outer operations go through all their row tiles for each tile of positions; others through each once. MAX and
// AVERAGE have groups instead of row tiles and go through them in the same way.
module row_tile_queue #(
  // activation lanes
  parameter int TK = 16,
  // bits of a word address
  parameter int ADDRESS = 14,
  // bits of a slot's address
  parameter int TABLE = 7,
  // row tiles that can wait: 2^DEPTH_BITS
  localparam int DEPTH_BITS = 5
) (
  input  logic               clk_i,
  input  logic               rst_i,
  input  logic               start_i,
  input  logic               finished_i,
  input  logic [1023:0]      op_i,
  input  logic               tile_valid_i,
  output logic               tile_ready_o,
  input  logic [63:0]        tile_i,
  output logic               valid_o,
  input  logic               take_i,
  output logic               last_o,         // the operation's last
  output logic [7:0]         slots_o,
  output logic [TABLE-1:0]   slot_base_o,
  output logic [9:0]         target_group_o, // MAX, AVERAGE
  output logic [9:0]         groups_o,
  output logic [ADDRESS-1:0] source_o,       // address of its first group
  output logic [15:0]        steps_o
);
  logic pool, outer;
  logic [15:0] count;
  assign pool = op_i[3:0] != 4'd3;
  assign outer = op_i[3*32+5];
  assign count = op_i[26*32+:16];

  (* ram_style = "distributed" *) logic [63:0] headers[0:2**DEPTH_BITS-1];
  logic [DEPTH_BITS:0] written, at, kept, op_first, op_end;
  logic [63:0] header;
  assign header = headers[at[DEPTH_BITS-1:0]];
  assign tile_ready_o = written != {!kept[DEPTH_BITS], kept[DEPTH_BITS-1:0]};
  always_ff @(posedge clk_i) if (tile_valid_i && tile_ready_o) headers[written[DEPTH_BITS-1:0]] <= tile_i;

  // Where the next row tile's slots lie; where the operation's first ones do.
  logic [TABLE-1:0] slot_next, slot_first, slot_end;
  logic [15:0] number;
  logic [ADDRESS-1:0] pool_source;
  logic [9:0] pool_group;

  // Take a header, multiply, add the base.
  logic [1:0] state;  // 0: wait, 1: product, 2: sum, 3: offered
  logic running, ended, last;
  logic [15:0] first;
  logic [ADDRESS-1:0] product;
  assign valid_o = state == 2'd3;
  assign last = number == count - 1'b1;

  always_ff @(posedge clk_i) begin
    product <= ADDRESS'(first * op_i[4*32+16+:16]);
    if (state == 2'd2) source_o <= pool ? pool_source : op_i[4*32+:ADDRESS] + product;
    if (state == 2'd0) begin
      first <= header[31:16];
      slots_o <= pool ? 8'(TK / 2) : header[7:0];
      groups_o <= pool ? 10'd1 : header[41:32];
      steps_o <= header[63:48];
      slot_base_o <= slot_next;
      target_group_o <= pool_group;
      last_o <= last;
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      {written, at, kept, op_first, op_end} <= '0;
      {slot_next, slot_first, slot_end} <= '0;
      state <= 2'd0;
      running <= 1'b0;
    end else begin
      if (tile_valid_i && tile_ready_o) written <= written + 1'b1;
      if (start_i) begin
        running <= 1'b1;
        ended <= 1'b0;
        number <= 16'd0;
        state <= 2'd0;
        op_first <= at;
        slot_first <= slot_next;
        pool_source <= op_i[4*32+:ADDRESS];
        pool_group <= op_i[27*32+20+:10];
      end else if (finished_i) begin
        running <= 1'b0;
        state <= 2'd0;
        if (!pool) begin
          at <= op_end;
          kept <= op_end;
          slot_next <= slot_end;
        end
      end else if (running) begin
        case (state)
          2'd0:
            if (!ended && (pool || at != written)) begin
              state <= 2'd1;
              if (!pool) begin
                at <= at + 1'b1;
                slot_next <= slot_next + TABLE'(header[15:0]);
              end
            end
          2'd1: state <= 2'd2;
          2'd2: begin
            state <= 2'd3;
            number <= last_o ? 16'd0 : number + 1'b1;
            pool_source <= last_o ? op_i[4*32+:ADDRESS] : pool_source + op_i[4*32+16+:ADDRESS];
            pool_group <= last_o ? op_i[27*32+20+:10] : pool_group + 1'b1;
            if (last_o) begin
              op_end <= at;
              slot_end <= slot_next;
              if (outer) begin
                at <= op_first;
                slot_next <= slot_first;
              end else if (!pool) begin
                ended <= 1'b1;
              end
            end
          end
          default: begin
            if (take_i) begin
              state <= 2'd0;
              if (!outer && !pool) kept <= at;
            end
          end
        endcase
      end
    end
  end
endmodule
