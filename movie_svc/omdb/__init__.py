"""OMDb's API, https://www.omdbapi.com: what it is asked, what it may cost, what its answers mean.

| module | what it does |
|---|---|
| `client` | asks, through the quota, the breaker and a deadline; every result is an `outcome` |
| `quota`, `calls` | how many calls all replicas together may make: a row in PostgreSQL counts them |
| `breaker` | no calls while OMDb fails |
| `outcome` | found, absent, or failed, and why |
| `body`, `parse`, `fields`, `text` | from the bytes of an answer to a record, whatever form they come in |
"""
