# Processing system of the ZC706 where the board's files are not installed: the preset inside the processing system's IP.
set ps_without_board_files {
  CONFIG.preset ZC706
}
