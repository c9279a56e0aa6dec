"""What stacks and supervised stacks share."""
