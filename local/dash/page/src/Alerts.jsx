import { Alert, Box, Chip, Typography } from '@mui/material';
import { useQuery } from '@tanstack/react-query';
import { ask } from './answers.js';

const COLORS = { page: 'error', ticket: 'warning' };

/** What fires now, with what its runbook says: what wakes somebody first. */
export function Alerts() {
  const { data, error } = useQuery(['alerts'], () => ask('alerts.json'), { refetchInterval: 5_000 });
  const told = (data?.alerts ?? []).filter(({ silent }) => !silent);
  const silent = (data?.alerts ?? []).filter((each) => each.silent);
  return (
    <Box sx={{ p: 2 }} data-page="alerts">
      {error && <Alert severity="error">{error.message}</Alert>}
      {data && !told.length && <Alert severity="success">Nothing fires.</Alert>}
      {told.map((each) => <Firing key={JSON.stringify([each.name, each.labels])} {...each} open />)}
      {silent.length > 0 && (
        <Typography variant="h3" sx={{ mt: 3, mb: 1 }}>
          Kept silent: they follow from one above, or an operator has silenced them
        </Typography>
      )}
      {silent.map((each) => <Firing key={JSON.stringify([each.name, each.labels])} {...each} />)}
    </Box>
  );
}

function Firing({ name, severity, summary, description, labels, since, runbook, open = false }) {
  return (
    <Box sx={{ mb: 2, p: 2, border: 1, borderColor: `${COLORS[severity]}.main`, borderRadius: 1 }}>
      <Box sx={{ display: 'flex', gap: 1, alignItems: 'center', flexWrap: 'wrap' }}>
        <Chip size="small" color={COLORS[severity]} label={severity} />
        <Typography variant="h3">{name}</Typography>
        <Typography variant="body2">since {new Date(since).toLocaleString()}</Typography>
        {Object.entries(labels).map(([key, value]) => <Chip key={key} size="small" variant="outlined" label={`${key}: ${value}`} />)}
      </Box>
      <Typography sx={{ mt: 1, fontWeight: 'bold' }}>{summary}</Typography>
      <Typography>{description}</Typography>
      <details open={open}>
        <summary>What to do</summary>
        <Typography component="div" variant="body2" sx={{ whiteSpace: 'pre-wrap', mt: 1 }}>
          {runbook.replace(/^# .*\n+/, '')}
        </Typography>
      </details>
    </Box>
  );
}
