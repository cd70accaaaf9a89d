"""How a cited answer is made from passages: prompt, model, citations, limits. No gRPC and no SDK."""
