// A run from start to done, error or abort. The first error counts; after it the units are held in reset until what was
// asked of the memory has come.
module run_control (
  input  logic        clk_i,
  input  logic        rst_i,
  input  logic        start_i,
  input  logic        abort_i,
  input  logic        clear_i,
  // every descriptor has been carried out
  input  logic        finished_i,
  input  logic        error_i,
  input  logic [3:0]  error_code_i,
  input  logic [15:0] error_index_i,
  // no transfer is under way
  input  logic        bus_idle_i,
  output logic        begin_o,
  // holds every unit in reset
  output logic        units_reset_o,
  output logic        running_o,
  output logic [31:0] status_o
);
  localparam logic [3:0] ABORT = 4'd8;
  typedef enum logic [1:0] {IDLE, BEGIN, RUN, HALT} state_t;
  state_t state;
  logic done, error;
  logic [3:0] code;
  logic [15:0] index;
  assign begin_o = state == BEGIN;
  assign running_o = state == RUN || state == BEGIN;
  assign units_reset_o = state == IDLE || state == HALT;
  assign status_o = {index, 4'b0, code, 5'b0, error, done, state != IDLE};

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      state <= IDLE;
      {done, error, code, index} <= '0;
    end else begin
      case (state)
        IDLE: begin
          if (clear_i || start_i) {done, error, code, index} <= '0;
          if (start_i) state <= BEGIN;
        end
        BEGIN: state <= RUN;
        RUN: begin
          if (error_i || abort_i) begin
            code <= error_i ? error_code_i : ABORT;
            index <= error_i ? error_index_i : '0;
            state <= HALT;
          end else if (finished_i) begin
            done <= 1'b1;
            state <= IDLE;
          end
        end
        default: begin
          if (bus_idle_i) begin
            error <= 1'b1;
            state <= IDLE;
          end
        end
      endcase
    end
  end
endmodule
