"""The launcher: the whole mesh on one machine, from packages, behind the command `marquee`.

| room | what it is about | may use |
|---|---|---|
| `stack` | a stack's folder, ports, secrets, certificates, provisioning and state | nothing else here |
| `omdb_simulator` | what stands for OMDb: real answers, real failures | nothing else here |
| `dash` | the page of dashboards, and its server | `stack` |
| `servers` | how each kind of process is started, and how one sees that it is ready | those above |
| `cluster` | the stores in the shape of production: `marquee up --cluster` | those above |
| `supervision` | the table of processes, and who starts, watches, replaces and stops them | those above |
| `commands` | what `marquee` does, a module for each command | those above |
| `drills` | breaks one known thing, waits for its alert, mends it: `marquee drill` | those above |

`cli` reads the command line. Services, their chassis (`mesh`) and the edge know nothing of this package.
"""
