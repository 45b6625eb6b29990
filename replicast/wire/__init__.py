"""Every message that crosses a wire, declared once, and its codec."""
