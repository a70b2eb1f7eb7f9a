"""Other engines that can be measured beside transformers, each in a virtual environment of its own."""
