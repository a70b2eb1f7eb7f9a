// The twin: BioGPT in JavaScript, without dependencies. It runs in Node and in a page.

export * from "./biogpt/activations.js";
export * from "./biogpt/attention.js";
export * from "./biogpt/tokenizer/bpe.js";
export * from "./biogpt/cache.js";
export * from "./biogpt/errors.js";
export * from "./biogpt/generation/generation.js";
export * from "./biogpt/heads.js";
export * from "./biogpt/inputs.js";
export * from "./biogpt/kit.js";
export * from "./biogpt/layers.js";
export * from "./biogpt/model.js";
export * from "./biogpt/tokenizer/moses.js";
export * from "./biogpt/ops.js";
export * from "./biogpt/generation/processors.js";
export * from "./biogpt/generation/random.js";
export * from "./biogpt/safetensors.js";
export * from "./biogpt/tokenizer/tokenizer.js";
export * from "./biogpt/trace.js";
export * from "./biogpt/traps.js";
export * from "./biogpt/weights.js";
