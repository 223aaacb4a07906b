"""OMDb (https://www.omdbapi.com): asking it, understanding it, and not breaking when it breaks."""
