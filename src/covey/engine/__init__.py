"""Jobs: the queue, and the durable runner. Knows Plans and Steps, not what they mean."""
