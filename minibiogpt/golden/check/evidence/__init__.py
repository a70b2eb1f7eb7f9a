"""What the numbers of a candidate show besides their errors: conventions, precisions, and which differences matter."""
