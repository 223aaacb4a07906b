"""What a stage needs, by arithmetic: cores, pods, memory, disks and money from what was measured and assumed.

| file | what is in it |
|---|---|
| `measured.json` | CPU time of each kind of request, memory, bytes |
| `checked.json` | a load at a hundredth of the last stage, predicted and measured |
| `assumed.toml` | traffic, prices, and what a stage keeps ready |
| `model` | the arithmetic |
| `page`, `page.template` | docs/capacity.md, from all these: `python -m k8s.capacity` |

`tests.load.system.capacity` writes the first two.
"""
