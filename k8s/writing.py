"""Writes the manifests that follow from the table of services and from the code: `python -m k8s.writing`."""

from k8s import stages, workloads


def main() -> None:
    """Writes the services' workloads, and what the stages make of the same table."""
    for path, content in {workloads.PAGE: workloads.render(), **stages.pages()}.items():
        path.write_text(content)


if __name__ == "__main__":
    main()
