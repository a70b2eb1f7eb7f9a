"""Read the checkpoints that BioGPT was published as: folders of transformers and of fairseq, with pickles."""
