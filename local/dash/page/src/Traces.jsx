import {
  Alert, Box, Button, Checkbox, FormControlLabel, MenuItem, TextField, Typography,
} from '@mui/material';
import { useQuery } from '@tanstack/react-query';
import { BuiltinVariableContext, RouterProvider, VariableContext } from '@perses-dev/plugin-system';
import { TraceTablePanel } from '@perses-dev/trace-table-plugin';
import { TracingGanttChartPanel } from '@perses-dev/tracing-gantt-chart-plugin';
import { Link, useNavigate, useParams, useSearchParams } from 'react-router-dom';
import { ask } from './answers.js';

const TIMES = { '15m': '15 minutes', '1h': 'an hour', '6h': '6 hours', '1d': 'a day' };
const LEAST = { '': 'anything', '10ms': '10 ms', '100ms': '100 ms', '500ms': '500 ms', '1000ms': '1 s' };
const FIELDS = ['service', 'least', 'failed', 'since'];

/** The newest traces as a table: what is looked for stands in the address, so that it can be passed on. */
export function Traces() {
  const [asked, setAsked] = useSearchParams({ since: '1h' });
  const parts = FIELDS.filter((name) => asked.get(name)).map((name) => [name, asked.get(name)]);
  const address = `traces.json?${new URLSearchParams(parts)}`;
  const { data, error } = useQuery(['traces', address], () => ask(address), {
    keepPreviousData: true,
    refetchInterval: 10_000,
  });
  const change = (name, value) => {
    const rest = Object.fromEntries(parts.filter(([each]) => each !== name));
    setAsked(value ? { ...rest, [name]: value } : rest);
  };
  return (
    <Box sx={{ p: 2, height: '100%', display: 'flex', flexDirection: 'column' }} data-page="traces">
      <Box sx={{ display: 'flex', gap: 1, flexWrap: 'wrap', alignItems: 'center', mb: 1 }}>
        <Choice label="With a span of" name="service" asked={asked} change={change} width={230}
          choices={{ '': 'any process', ...Object.fromEntries((data?.services ?? []).map((name) => [name, name])) }} />
        <Choice label="That took at least" name="least" asked={asked} change={change} width={150} choices={LEAST} />
        <Choice label="In the last" name="since" asked={asked} change={change} width={130} choices={TIMES} usual="1h" />
        <FormControlLabel
          label="only with failures"
          control={<Checkbox checked={Boolean(asked.get('failed'))} size="small"
            onChange={(event) => change('failed', event.target.checked ? '1' : '')} />}
        />
        <OpenTrace />
      </Box>
      {error && <Alert severity="error">{error.message}</Alert>}
      {data && (
        <>
          <Typography variant="body2" sx={{ mb: 1 }}>
            {data.traces.length} traces. All that failed or took longer than a second, and some of the others; a call
            that was not sampled has only the spans that failed.
          </Typography>
          <Box sx={{ flexGrow: 1, minHeight: 0 }}>
            <Around>
              <TraceTablePanel
                spec={{ links: { trace: '/traces/${traceId}' } }}
                queryResults={[{ definition: NO_QUERY, data: { searchResult: data.traces } }]}
              />
            </Around>
          </Box>
        </>
      )}
    </Box>
  );
}

// The steps of a rating are eleven deep. The panel's column of names is a quarter of its width until somebody
// moves its edge, and each step takes 24 pixels of that: names would be cut off.
const READABLE = {
  '& div[style="width: 25%;"]': { width: '42% !important' },
  '& div[style*="width: 24px"]:not(:has(svg))': { width: '10px !important' },
};

/** One trace as a waterfall. */
export function Trace() {
  const { id } = useParams();
  const { data, error } = useQuery(['trace', id], () => ask(`traces/${id}.json`));
  const logs = `/logs?since=7d&trace=${id}`;
  return (
    <Box sx={{ p: 2, height: '100%', display: 'flex', flexDirection: 'column' }} data-page="trace">
      <Box sx={{ display: 'flex', gap: 1, alignItems: 'center', mb: 1 }}>
        <Button size="small" component={Link} to="/traces">All traces</Button>
        <Button size="small" variant="contained" component={Link} to={logs}>Its lines in the logs</Button>
        <Typography variant="body2">
          A click on a span shows what is known of it; its service.name leads to what that process wrote then.
        </Typography>
      </Box>
      {error && <Alert severity="warning">{error.message}</Alert>}
      {data && (
        <Box sx={{ flexGrow: 1, minHeight: 0, ...READABLE }}>
          <Around>
            <TracingGanttChartPanel
              key={id}
              spec={{
                links: {
                  trace: '/traces/${traceId}',
                  span: '/traces/${traceId}',
                  attributes: [{ name: 'service.name', link: `${logs}&service=\${service_name}` }],
                },
              }}
              queryResults={[{ definition: NO_QUERY, data: { trace: data } }]}
            />
          </Around>
        </Box>
      )}
    </Box>
  );
}

function Choice({ label, name, asked, change, choices, width, usual = '' }) {
  const value = asked.get(name) ?? usual;
  // What the address asks for can be chosen too, although there is none of it now.
  const all = value in choices ? choices : { ...choices, [value]: value };
  return (
    <TextField select size="small" label={label} value={value} sx={{ width }}
      slotProps={{ select: { displayEmpty: true }, inputLabel: { shrink: true } }}
      onChange={(event) => change(name, event.target.value)}>
      {Object.entries(all).map(([each, text]) => <MenuItem key={each} value={each}>{text}</MenuItem>)}
    </TextField>
  );
}

function OpenTrace() {
  const navigate = useNavigate();
  return (
    <Box component="form" sx={{ display: 'flex', gap: 1, ml: 'auto' }} onSubmit={(event) => {
      event.preventDefault();
      const id = new FormData(event.target).get('id').trim().toLowerCase();
      if (id) navigate(`/traces/${encodeURIComponent(id)}`);
    }}>
      <TextField size="small" name="id" label="A trace's id" sx={{ width: 330 }} />
      <Button type="submit">Open</Button>
    </Box>
  );
}

// What Perses' panels ask of the dashboard that they are usually in.
const NO_QUERY = { kind: 'TraceQuery', spec: { plugin: { kind: 'None', spec: {} } } };
const NO_VARIABLES = { state: {} };
const NO_BUILTINS = { variables: [] };

function Around({ children }) {
  const navigate = useNavigate();
  return (
    <RouterProvider RouterComponent={Link} navigate={navigate}>
      <BuiltinVariableContext.Provider value={NO_BUILTINS}>
        <VariableContext.Provider value={NO_VARIABLES}>{children}</VariableContext.Provider>
      </BuiltinVariableContext.Provider>
    </RouterProvider>
  );
}
