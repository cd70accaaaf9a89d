"""What writes answers: any OpenAI-compatible chat API, and an extractive answerer that needs none."""
