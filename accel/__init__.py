"""The accelerator's software. It depends on `ilmpq`, never the other way round; this version holds none yet."""
