"""What methods of token drop, compaction and codecs save and cost: parts of `tokens`."""
