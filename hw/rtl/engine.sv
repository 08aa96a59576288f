// The engine: registers, the units beside one another, and the way to memory. See docs/engine.md.
//
// `m_axi` brings descriptors and images and moves feature maps, `m_axi_w` bring weights, port j in the j-th field. Bursts
// are of type INCR, of 8 bytes times 1 to 16, one direction's data in the order of its addresses: no IDs are needed.
module engine #(
  // CRC-32 of the parameters
  parameter logic [31:0] GEOMETRY_ID = 32'h0,
  // number of arrays, at most 16
  parameter int ARRAYS = 3,
  // kind of each array (mac_kinds), 16 bits each, the first in the lowest
  parameter logic [16*16-1:0] KINDS = {16'(mac_kinds::FIXED8_DSP), 16'(mac_kinds::FIXED4_DSP), 16'(mac_kinds::POT4_LUT)},
  // rows of each array, likewise
  parameter logic [16*16-1:0] ROWS = {16'd2, 16'd8, 16'd22},
  // products added per step and output
  parameter int TK = 16,
  // output positions
  parameter int TP = 4,
  // bits of the unsigned activations, 4 to 8
  parameter int ACT_BITS = 4,
  // bits of an accumulator
  parameter int ACC_BITS = 24,
  // words of the activation memory
  parameter int AM_DEPTH = 5120,
  // steps in the weight ring
  parameter int RING_DEPTH = 512,
  // slots in the slot table, a power of two
  parameter int TABLE_DEPTH = 128,
  // ports that bring weights
  parameter int WEIGHT_PORTS = 3,
  // number of kernels that the image unit unrolls, at most 4
  parameter int IMAGE_KERNEL_COUNT = 4,
  // these kernels, 8 bits each, the first in the lowest: channels, height
  parameter logic [31:0] IMAGE_KERNELS = 32'h13_35_33_37,
  // most bytes of an unrolled window
  parameter int IMAGE_BYTES = 147,
  // windows of an image that are stored at a time, at most TP
  parameter int PATCH_WRITERS = 1,
  // most pixels in a row of an unrolled image
  parameter int LINE = 512,
  // pixels of an image that are taken in a cycle, 1 or 2
  parameter int PIXELS = 1
) (
  input  logic                       clk_i,
  input  logic                       rst_i,
  output logic                       interrupt_o,
  // AXI4-Lite
  input  logic [6:0]                 s_axil_awaddr_i,
  input  logic                       s_axil_awvalid_i,
  output logic                       s_axil_awready_o,
  input  logic [31:0]                s_axil_wdata_i,
  input  logic [3:0]                 s_axil_wstrb_i,
  input  logic                       s_axil_wvalid_i,
  output logic                       s_axil_wready_o,
  output logic [1:0]                 s_axil_bresp_o,
  output logic                       s_axil_bvalid_o,
  input  logic                       s_axil_bready_i,
  input  logic [6:0]                 s_axil_araddr_i,
  input  logic                       s_axil_arvalid_i,
  output logic                       s_axil_arready_o,
  output logic [31:0]                s_axil_rdata_o,
  output logic [1:0]                 s_axil_rresp_o,
  output logic                       s_axil_rvalid_o,
  input  logic                       s_axil_rready_i,
  // AXI4: descriptors, images, feature maps
  output logic [31:0]                m_axi_araddr_o,
  output logic [7:0]                 m_axi_arlen_o,
  output logic [2:0]                 m_axi_arsize_o,
  output logic [1:0]                 m_axi_arburst_o,
  output logic                       m_axi_arvalid_o,
  input  logic                       m_axi_arready_i,
  input  logic [63:0]                m_axi_rdata_i,
  input  logic [1:0]                 m_axi_rresp_i,
  input  logic                       m_axi_rlast_i,
  input  logic                       m_axi_rvalid_i,
  output logic                       m_axi_rready_o,
  output logic [31:0]                m_axi_awaddr_o,
  output logic [7:0]                 m_axi_awlen_o,
  output logic [2:0]                 m_axi_awsize_o,
  output logic [1:0]                 m_axi_awburst_o,
  output logic                       m_axi_awvalid_o,
  input  logic                       m_axi_awready_i,
  output logic [63:0]                m_axi_wdata_o,
  output logic [7:0]                 m_axi_wstrb_o,
  output logic                       m_axi_wlast_o,
  output logic                       m_axi_wvalid_o,
  input  logic                       m_axi_wready_i,
  input  logic [1:0]                 m_axi_bresp_i,
  input  logic                       m_axi_bvalid_i,
  output logic                       m_axi_bready_o,
  // AXI4, reads only: weights
  output logic [32*WEIGHT_PORTS-1:0] m_axi_w_araddr_o,
  output logic [8*WEIGHT_PORTS-1:0]  m_axi_w_arlen_o,
  output logic [3*WEIGHT_PORTS-1:0]  m_axi_w_arsize_o,
  output logic [2*WEIGHT_PORTS-1:0]  m_axi_w_arburst_o,
  output logic [WEIGHT_PORTS-1:0]    m_axi_w_arvalid_o,
  input  logic [WEIGHT_PORTS-1:0]    m_axi_w_arready_i,
  input  logic [64*WEIGHT_PORTS-1:0] m_axi_w_rdata_i,
  input  logic [2*WEIGHT_PORTS-1:0]  m_axi_w_rresp_i,
  input  logic [WEIGHT_PORTS-1:0]    m_axi_w_rlast_i,
  input  logic [WEIGHT_PORTS-1:0]    m_axi_w_rvalid_i,
  output logic [WEIGHT_PORTS-1:0]    m_axi_w_rready_o
);
  localparam int BEAT_BITS = 64 * WEIGHT_PORTS;
  localparam int STEP_WORDS = (engine_pkg::image_before(KINDS, ROWS, ARRAYS, TK) + 63) / 64;
  localparam int WORD_BITS = engine_pkg::banks(TP) * TK * 8;
  localparam int RING_BITS = $clog2(RING_DEPTH);
  localparam int TABLE_BITS = $clog2(TABLE_DEPTH);
  if (TP < 4 || TP % 2 != 0 || TK % 4 != 0) begin : g_check
    $error("TP must be even and at least 4, TK a multiple of 4");
  end
  // The queues, and the clients of the read port.
  localparam int LOAD = 0, STORE = 1, IMAGE = 2, COMPUTE = 3;
  localparam int READ_FETCH = 0, READ_IMAGE = 1, READ_LOAD = 2;

  assign {m_axi_arsize_o, m_axi_arburst_o} = {3'd3, 2'b01};
  assign {m_axi_awsize_o, m_axi_awburst_o} = {3'd3, 2'b01};
  assign m_axi_w_arsize_o = {WEIGHT_PORTS{3'd3}};
  assign m_axi_w_arburst_o = {WEIGHT_PORTS{2'b01}};

  // Registers and the run.
  logic start, abort, clear, interrupt_enable, begins, units_reset, running, finished, error, bus_idle;
  logic [31:0] status;
  logic [99:0] bases;
  logic [25*WEIGHT_PORTS-1:0] weight_bases;
  logic [191:0] counters;
  logic [3:0] error_code;
  logic [15:0] error_index;
  register_file #(.GEOMETRY_ID(GEOMETRY_ID), .WEIGHT_PORTS(WEIGHT_PORTS)) registers (
    .clk_i, .rst_i, .s_axil_awaddr_i, .s_axil_awvalid_i, .s_axil_awready_o, .s_axil_wdata_i, .s_axil_wstrb_i, .s_axil_wvalid_i,
    .s_axil_wready_o, .s_axil_bresp_o, .s_axil_bvalid_o, .s_axil_bready_i, .s_axil_araddr_i, .s_axil_arvalid_i,
    .s_axil_arready_o, .s_axil_rdata_o, .s_axil_rresp_o, .s_axil_rvalid_o, .s_axil_rready_i,
    .start_o(start), .abort_o(abort), .clear_o(clear), .status_i(status), .interrupt_enable_o(interrupt_enable),
    .bases_o(bases), .weight_bases_o(weight_bases), .counters_i(counters)
  );
  run_control control (
    .clk_i, .rst_i, .start_i(start), .abort_i(abort), .clear_i(clear), .finished_i(finished), .error_i(error),
    .error_code_i(error_code), .error_index_i(error_index), .bus_idle_i(bus_idle),
    .begin_o(begins), .units_reset_o(units_reset), .running_o(running), .status_o(status)
  );
  assign interrupt_o = interrupt_enable && status[2:1] != '0;

  // Descriptors and their queues.
  logic fetched, fetch_error;
  logic [3:0] fetch_code, room, write;
  logic [15:0] fetch_index;
  logic [63:0] pair;
  logic [3:0] beat;
  logic weights_room, weights_write, weights_outer, image_waits;
  logic [31:0] weights_first;
  logic [15:0] weights_tiles;
  logic [47:0] given;
  logic [47:0] completed /* verilator public_flat_rd */;  // operations of LOAD, STORE, COMPUTE
  logic [15:0] descriptor;  // that is being given
  logic [2:0] read_valid, read_ready, client_valid, client_ready;
  logic [95:0] read_address;
  logic [11:0] read_less_one;
  logic [63:0] read_data;
  logic read_error;
  descriptor_fetcher #(.GEOMETRY_ID(GEOMETRY_ID)) fetcher (
    .clk_i, .rst_i(units_reset), .start_i(begins), .base_i(bases[24:0]), .regions_i(bases[99:25]), .finished_o(fetched), .error_o(fetch_error),
    .error_code_o(fetch_code), .error_index_o(fetch_index),
    .burst_valid_o(read_valid[READ_FETCH]), .burst_ready_i(read_ready[READ_FETCH]),
    .burst_address_o(read_address[32*READ_FETCH+:32]), .burst_less_one_o(read_less_one[4*READ_FETCH+:4]),
    .data_valid_i(client_valid[READ_FETCH]), .data_ready_o(client_ready[READ_FETCH]), .data_i(read_data),
    .data_error_i(read_error), .room_i(room), .write_o(write), .pair_o(pair), .beat_o(beat), .index_o(descriptor),
    .weights_room_i(weights_room), .weights_write_o(weights_write), .weights_first_o(weights_first),
    .weights_tiles_o(weights_tiles), .weights_outer_o(weights_outer), .image_waits_o(image_waits),
    .loads_o(given[15:0]), .stores_o(given[31:16]), .computes_o(given[47:32])
  );
  logic [3:0] head_valid, head_ready, head_empty, met;
  logic [1023:0] compute_words;
  logic [255:0] load_words, store_words, image_words;
  for (genvar q = 0; q < 3; q++) begin : g_queue
    logic [255:0] words;
    descriptor_queue #(.BEATS(4), .DEPTH(8)) queue (
      .clk_i, .rst_i(units_reset), .room_o(room[q]), .write_i(write[q] && beat < 4'd4), .data_i(pair),
      .valid_o(head_valid[q]), .ready_i(head_ready[q]), .words_o(words), .empty_o(head_empty[q])
    );
    order_check order (.waits_i(words[79:32]), .completed_i(completed), .met_o(met[q]));
  end
  assign load_words = g_queue[LOAD].words;
  assign store_words = g_queue[STORE].words;
  assign image_words = g_queue[IMAGE].words;
  descriptor_queue #(.BEATS(16), .DEPTH(8)) compute_queue (
    .clk_i, .rst_i(units_reset), .room_o(room[COMPUTE]), .write_i(write[COMPUTE]), .data_i(pair),
    .valid_o(head_valid[COMPUTE]), .ready_i(head_ready[COMPUTE]), .words_o(compute_words), .empty_o(head_empty[COMPUTE])
  );
  order_check compute_order (.waits_i(compute_words[79:32]), .completed_i(completed), .met_o(met[COMPUTE]));

  logic load_done, store_done, image_done, compute_done, compute_ready, weights_idle;
  assign head_ready = {compute_ready && met[COMPUTE], image_done, store_done, load_done};
  always_ff @(posedge clk_i) begin
    if (units_reset) begin
      completed <= '0;
    end else begin
      completed[15:0] <= completed[15:0] + 16'(load_done);
      completed[31:16] <= completed[31:16] + 16'(store_done);
      completed[47:32] <= completed[47:32] + 16'(compute_done);
    end
  end
  assign finished = fetched && given == completed && head_empty[IMAGE] && weights_idle;

  // Reads.
  logic reader_valid, reader_ready, reader_data_valid, reader_data_ready, reader_idle;
  logic [31:0] reader_address;
  logic [3:0] reader_less_one;
  read_arbiter #(.CLIENTS(3)) arbiter (
    .clk_i, .rst_i(units_reset), .burst_valid_i(read_valid), .burst_ready_o(read_ready), .burst_address_i(read_address),
    .burst_less_one_i(read_less_one), .data_valid_o(client_valid), .data_ready_i(client_ready),
    .reader_valid_o(reader_valid), .reader_ready_i(reader_ready), .reader_address_o(reader_address),
    .reader_less_one_o(reader_less_one), .reader_data_valid_i(reader_data_valid), .reader_data_ready_o(reader_data_ready)
  );
  burst_reader reader (
    .clk_i, .rst_i, .flush_i(units_reset), .idle_o(reader_idle), .burst_valid_i(reader_valid), .burst_ready_o(reader_ready),
    .burst_address_i(reader_address), .burst_less_one_i(reader_less_one), .data_valid_o(reader_data_valid),
    .data_ready_i(reader_data_ready), .data_o(read_data), .data_error_o(read_error),
    .axi_araddr_o(m_axi_araddr_o), .axi_arlen_o(m_axi_arlen_o), .axi_arvalid_o(m_axi_arvalid_o),
    .axi_arready_i(m_axi_arready_i), .axi_rdata_i(m_axi_rdata_i), .axi_rresp_i(m_axi_rresp_i),
    .axi_rvalid_i(m_axi_rvalid_i), .axi_rready_o(m_axi_rready_o)
  );

  // LOAD and STORE share the activation memory's port.
  logic load_error, store_error, write_error, writer_idle;
  logic load_am, store_am, am_ready, am_data_valid;
  logic [15:0] load_am_address, store_am_address;
  logic [WORD_BITS-1:0] load_am_data, am_data;
  load_unit #(.WORD_BITS(WORD_BITS), .AM_DEPTH(AM_DEPTH)) load (
    .clk_i, .rst_i(units_reset), .op_valid_i(head_valid[LOAD] && met[LOAD]), .op_words_i(load_words),
    .op_done_o(load_done), .error_o(load_error),
    .burst_valid_o(read_valid[READ_LOAD]), .burst_ready_i(read_ready[READ_LOAD]),
    .burst_address_o(read_address[32*READ_LOAD+:32]), .burst_less_one_o(read_less_one[4*READ_LOAD+:4]),
    .data_valid_i(client_valid[READ_LOAD]), .data_ready_o(client_ready[READ_LOAD]), .data_i(read_data),
    .am_valid_o(load_am), .am_ready_i(am_ready), .am_address_o(load_am_address), .am_data_o(load_am_data)
  );
  logic burst_valid, burst_ready, write_valid, write_ready;
  logic [31:0] burst_address;
  logic [3:0] burst_less_one;
  logic [63:0] write_data;
  store_unit #(.WORD_BITS(WORD_BITS), .AM_DEPTH(AM_DEPTH)) store (
    .clk_i, .rst_i(units_reset), .op_valid_i(head_valid[STORE] && met[STORE]), .op_words_i(store_words),
    .op_done_o(store_done), .error_o(store_error),
    .burst_valid_o(burst_valid), .burst_ready_i(burst_ready), .burst_address_o(burst_address),
    .burst_less_one_o(burst_less_one), .idle_i(writer_idle),
    .data_valid_o(write_valid), .data_ready_i(write_ready), .data_o(write_data),
    .am_valid_o(store_am), .am_ready_i(am_ready && !load_am), .am_address_o(store_am_address),
    .am_data_valid_i(am_data_valid), .am_data_i(am_data)
  );
  burst_writer writer (
    .clk_i, .rst_i, .flush_i(units_reset), .idle_o(writer_idle), .burst_valid_i(burst_valid), .burst_ready_o(burst_ready),
    .burst_address_i(burst_address), .burst_less_one_i(burst_less_one),
    .data_valid_i(write_valid), .data_ready_o(write_ready), .data_i(write_data), .error_o(write_error),
    .axi_awaddr_o(m_axi_awaddr_o), .axi_awlen_o(m_axi_awlen_o), .axi_awvalid_o(m_axi_awvalid_o),
    .axi_awready_i(m_axi_awready_i), .axi_wdata_o(m_axi_wdata_o), .axi_wstrb_o(m_axi_wstrb_o), .axi_wlast_o(m_axi_wlast_o),
    .axi_wvalid_o(m_axi_wvalid_o), .axi_wready_i(m_axi_wready_i), .axi_bresp_i(m_axi_bresp_i),
    .axi_bvalid_i(m_axi_bvalid_i), .axi_bready_o(m_axi_bready_o)
  );

  // IMAGE.
  logic image_error, patch_valid, patch_ready;
  logic [8*IMAGE_BYTES-1:0] patch_data;
  image_unit #(
    .TK(TK), .PIXELS(PIXELS), .LINE(LINE), .IMAGE_BYTES(IMAGE_BYTES), .KERNELS(IMAGE_KERNEL_COUNT), .KERNEL_LIST(IMAGE_KERNELS)
  ) image (
    .clk_i, .rst_i(units_reset), .op_valid_i(head_valid[IMAGE] && met[IMAGE]), .op_words_i(image_words),
    .op_done_o(image_done), .error_o(image_error),
    .burst_valid_o(read_valid[READ_IMAGE]), .burst_ready_i(read_ready[READ_IMAGE]),
    .burst_address_o(read_address[32*READ_IMAGE+:32]), .burst_less_one_o(read_less_one[4*READ_IMAGE+:4]),
    .data_valid_i(client_valid[READ_IMAGE]), .data_ready_o(client_ready[READ_IMAGE]), .data_i(read_data),
    .patch_valid_o(patch_valid), .patch_ready_i(patch_ready), .patch_data_o(patch_data)
  );

  // Weights.
  logic run_valid, run_ready, weight_valid, weight_ready, weight_error, weight_bus_idle;
  logic [31:0] run_first, run_beats;
  logic [64*WEIGHT_PORTS-1:0] weight_beat;
  weight_reader #(.WEIGHT_PORTS(WEIGHT_PORTS)) weight_bus (
    .clk_i, .rst_i, .flush_i(units_reset), .idle_o(weight_bus_idle), .bases_i(weight_bases),
    .run_valid_i(run_valid), .run_ready_o(run_ready), .run_first_i(run_first), .run_beats_i(run_beats),
    .beat_valid_o(weight_valid), .beat_ready_i(weight_ready), .beat_o(weight_beat), .beat_error_o(weight_error),
    .axi_araddr_o(m_axi_w_araddr_o), .axi_arlen_o(m_axi_w_arlen_o), .axi_arvalid_o(m_axi_w_arvalid_o),
    .axi_arready_i(m_axi_w_arready_i), .axi_rdata_i(m_axi_w_rdata_i), .axi_rresp_i(m_axi_w_rresp_i),
    .axi_rvalid_i(m_axi_w_rvalid_i), .axi_rready_o(m_axi_w_rready_o)
  );
  logic beat_write, step_count, slot_write, tile_valid, tile_ready, step_free;
  logic [RING_BITS-1:0] beat_step;
  logic [5:0] beat_index;
  logic [64*WEIGHT_PORTS-1:0] beat_data;
  logic [TABLE_BITS-1:0] slot_address;
  logic [191:0] slot_data;
  logic [63:0] tile;
  logic [7:0] slot_free;
  logic field_error, weights_wrong, response_error;
  logic [15:0] weights_index;
  weight_loader #(
    .WEIGHT_PORTS(WEIGHT_PORTS), .RING_DEPTH(RING_DEPTH), .TABLE_DEPTH(TABLE_DEPTH), .STEP_WORDS(STEP_WORDS)
  ) weights (
    .clk_i, .rst_i(units_reset), .op_valid_i(weights_write), .op_ready_o(weights_room), .op_first_i(weights_first),
    .op_beats_i(pair[31:0]), .op_checksum_i(pair[63:32]), .op_tiles_i(weights_tiles), .op_outer_i(weights_outer),
    .op_index_i(descriptor),
    .idle_o(weights_idle), .error_field_o(field_error), .error_weights_o(weights_wrong), .error_response_o(response_error),
    .error_index_o(weights_index),
    .run_valid_o(run_valid), .run_ready_i(run_ready), .run_first_o(run_first), .run_beats_o(run_beats),
    .beat_valid_i(weight_valid), .beat_ready_o(weight_ready), .beat_i(weight_beat), .beat_error_i(weight_error),
    .beat_write_o(beat_write), .beat_step_o(beat_step), .beat_index_o(beat_index), .beat_data_o(beat_data),
    .step_count_o(step_count), .slot_write_o(slot_write), .slot_address_o(slot_address), .slot_data_o(slot_data),
    .tile_valid_o(tile_valid), .tile_ready_i(tile_ready), .tile_o(tile), .step_free_i(step_free), .slot_free_i(slot_free)
  );
  assign bus_idle = reader_idle && writer_idle && weight_bus_idle;

  // COMPUTE.
  logic compute_error, stepped, stall_weights, stall_patches, stall_results, stall_order;
  logic [15:0] compute_index;
  compute_core #(
    .ARRAYS(ARRAYS), .KINDS(KINDS), .ROWS(ROWS), .TK(TK), .TP(TP), .ACT_BITS(ACT_BITS), .ACC_BITS(ACC_BITS),
    .AM_DEPTH(AM_DEPTH), .RING_DEPTH(RING_DEPTH), .TABLE_DEPTH(TABLE_DEPTH), .WEIGHT_PORTS(WEIGHT_PORTS),
    .IMAGE_BYTES(IMAGE_BYTES), .PATCH_WRITERS(PATCH_WRITERS)
  ) core (
    .clk_i, .rst_i(units_reset),
    .op_valid_i(head_valid[COMPUTE] && met[COMPUTE]), .op_ready_o(compute_ready), .op_words_i(compute_words),
    .op_done_o(compute_done), .error_o(compute_error),
    .beat_write_i(beat_write), .beat_step_i(beat_step), .beat_index_i(beat_index), .beat_data_i(beat_data),
    .step_count_i(step_count), .slot_write_i(slot_write), .slot_address_i(slot_address), .slot_data_i(slot_data),
    .tile_valid_i(tile_valid), .tile_ready_o(tile_ready), .tile_i(tile), .step_free_o(step_free), .slot_free_o(slot_free),
    .am_valid_i(load_am || store_am), .am_ready_o(am_ready), .am_write_i(load_am),
    .am_address_i(load_am ? load_am_address : store_am_address), .am_data_i(load_am_data),
    .am_data_o(am_data), .am_data_valid_o(am_data_valid),
    .patch_valid_i(patch_valid), .patch_ready_o(patch_ready), .patch_data_i(patch_data),
    .step_o(stepped), .stall_weights_o(stall_weights), .stall_patches_o(stall_patches), .stall_results_o(stall_results)
  );
  logic [4:0] window_words;
  always_ff @(posedge clk_i) begin
    if (head_valid[COMPUTE] && head_ready[COMPUTE]) {window_words, compute_index} <= {compute_words[26*32+16+:5], compute_words[31:16]};
  end
  assign stall_order = head_valid[COMPUTE] && !met[COMPUTE] && compute_ready;
  event_counters #(.EVENTS(6)) events (
    .clk_i, .clear_i(begins), .count_o(counters),
    .event_i({stall_order, stall_results, stall_patches, stall_weights, stepped, 1'b1} & {6{running}})
  );

  // Errors; a unit's words of its descriptor tell which. A CONV wants windows that no IMAGE before it gives, or others than
  // those that come; windows are left that no CONV can take any more.
  logic starved, unwanted;
  assign starved = patch_ready && (head_empty[IMAGE] || (head_valid[IMAGE] && image_words[31:16] > compute_index)
      || (patch_valid && image_words[6*32+27+:5] != window_words));
  assign unwanted = (fetched || image_waits) && given == completed && patch_valid && !patch_ready;
  always_comb begin
    error = 1'b1;
    error_code = 4'd4;
    error_index = fetch_index;
    if (client_valid[READ_LOAD] && client_ready[READ_LOAD] && read_error) begin
      error_code = 4'd6;
      error_index = load_words[31:16];
    end else if (client_valid[READ_IMAGE] && client_ready[READ_IMAGE] && read_error) begin
      error_code = 4'd6;
      error_index = image_words[31:16];
    end else if (response_error || weights_wrong || field_error) begin
      error_code = response_error ? 4'd6 : weights_wrong ? 4'd5 : 4'd4;
      error_index = weights_index;
    end else if (write_error) begin
      error_code = 4'd7;
      error_index = store_words[31:16];
    end else if (fetch_error) begin
      error_code = fetch_code;
    end else if (load_error) begin
      error_index = load_words[31:16];
    end else if (store_error) begin
      error_index = store_words[31:16];
    end else if (image_error) begin
      error_index = image_words[31:16];
    end else if (compute_error || starved) begin
      error_index = compute_index;
    end else if (unwanted) begin
      error_index = image_words[31:16];
    end else begin
      error = 1'b0;
    end
  end
endmodule
