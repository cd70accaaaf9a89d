"""Redis: how clients are made and what their failures mean. What is kept there is in queues, visibility and caches."""
