"""What happens in which order: one short file a flow, named as users deploy it."""
