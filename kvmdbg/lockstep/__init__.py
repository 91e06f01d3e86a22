"""Two back ends that run the same guest, instruction by instruction: the first difference between them."""
