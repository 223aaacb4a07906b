"""Writes docs/capacity.md: `python -m k8s.capacity`."""

from k8s.capacity.page import PAGE, made

if __name__ == "__main__":
    PAGE.write_text(made())
    print(f"written: {PAGE.name}")
