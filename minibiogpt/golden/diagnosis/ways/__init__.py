"""The ways in which ports do a step otherwise, and how to estimate their parameters from the candidate's arrays."""
