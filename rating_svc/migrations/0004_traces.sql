-- What was sampled goes on in its trace when the relay hands it on. Others don't have one, and releases
-- before don't write it.
ALTER TABLE outbox ADD COLUMN trace text;
COMMENT ON COLUMN outbox.trace IS 'the traceparent of what wrote the row, if that was sampled';
