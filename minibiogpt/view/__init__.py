"""Pictures of what a model computes: pages that need nothing but a browser, and plots."""
