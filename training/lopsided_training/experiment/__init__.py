"""Does a network learn to miss what its annotators missed, and which loss prevents it? Experiments that resume."""
