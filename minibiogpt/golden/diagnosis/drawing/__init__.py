"""Draw the graph of a forward pass, each array coloured by its own error."""
