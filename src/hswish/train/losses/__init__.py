"""What a step minimises: `loss` adds up what the other files compute."""
