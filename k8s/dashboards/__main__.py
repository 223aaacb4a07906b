"""Writes the dashboards: `python -m k8s.dashboards`."""

from k8s.dashboards.files import FOLDER, rendered


def main() -> None:
    for path, text in rendered().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in set(FOLDER.glob("*/*.json")) - set(rendered()):
        path.unlink()


if __name__ == "__main__":
    main()
