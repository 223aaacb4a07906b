import { Fragment, useState } from 'react';
import {
  Alert, Box, Button, MenuItem, Table, TableBody, TableCell, TableHead, TableRow, TextField, Typography,
} from '@mui/material';
import { useQuery } from '@tanstack/react-query';
import { Link, useSearchParams } from 'react-router-dom';
import { ask } from './answers.js';

const COLORS = { warning: 'warning.main', error: 'error.main', critical: 'error.main' };
const LEVELS = ['', 'debug', 'info', 'warning', 'error'];
const TIMES = { '15m': '15 minutes', '1h': 'an hour', '6h': '6 hours', '1d': 'a day', '7d': '7 days' };
const FIELDS = ['trace', 'service', 'level', 'words', 'since'];

/** Lines of all processes as a table: what is looked for stands in the address, so that it can be passed on. */
export function Logs() {
  const [asked, setAsked] = useSearchParams({ since: '1h' });
  const parts = FIELDS.filter((name) => asked.get(name)).map((name) => [name, asked.get(name)]);
  const address = `logs.json?${new URLSearchParams(parts)}`;
  const { data, error, isFetching } = useQuery(['logs', address], () => ask(address), {
    keepPreviousData: true,
    refetchInterval: asked.get('trace') ? false : 10_000,
  });
  const change = (name, value) => setAsked({ ...Object.fromEntries(parts), [name]: value });
  return (
    <Box sx={{ p: 2 }} data-page="logs">
      <Box
        component="form"
        sx={{ display: 'flex', gap: 1, flexWrap: 'wrap', mb: 1 }}
        onSubmit={(event) => {
          event.preventDefault();
          setAsked(Object.fromEntries(new FormData(event.target)));
        }}
      >
        <TextField size="small" name="words" label="Words, or a request's id" key={`w${asked.get('words')}`}
          defaultValue={asked.get('words') ?? ''} sx={{ width: 320 }} />
        <TextField size="small" name="trace" label="Trace" key={`t${asked.get('trace')}`}
          defaultValue={asked.get('trace') ?? ''} sx={{ width: 330 }} />
        <TextField size="small" name="service" label="Service" key={`s${asked.get('service')}`}
          defaultValue={asked.get('service') ?? ''} />
        <TextField select size="small" name="level" label="Level, or graver" value={asked.get('level') ?? ''}
          onChange={(event) => change('level', event.target.value)} sx={{ width: 150 }}>
          {LEVELS.map((level) => <MenuItem key={level} value={level}>{level || 'all'}</MenuItem>)}
        </TextField>
        <TextField select size="small" name="since" label="In the last" value={asked.get('since') ?? '1h'}
          onChange={(event) => change('since', event.target.value)} sx={{ width: 130 }}>
          {Object.entries(TIMES).map(([value, text]) => <MenuItem key={value} value={value}>{text}</MenuItem>)}
        </TextField>
        <Button type="submit" variant="contained" disabled={isFetching}>Search</Button>
        <Button onClick={() => setAsked({ since: '1h' })}>Clear</Button>
      </Box>
      {error && <Alert severity="error">{error.message}</Alert>}
      {data && <Lines {...data} onTrace={(trace) => setAsked({ trace, since: '7d' })} />}
    </Box>
  );
}

function Lines({ total, lines, onTrace }) {
  const [open, setOpen] = useState(null);
  return (
    <>
      <Typography variant="body2" sx={{ mb: 1 }}>
        {total} lines{total > lines.length ? `; the newest ${lines.length} of them` : ''}. A click shows all fields.
      </Typography>
      <Table size="small" sx={{ '& td': { verticalAlign: 'top', py: 0.25 } }}>
        <TableHead>
          <TableRow>
            {['Time (UTC)', 'Level', 'Service', 'Message', 'Trace'].map((name) => <TableCell key={name}>{name}</TableCell>)}
          </TableRow>
        </TableHead>
        <TableBody>
          {lines.map((line, number) => (
            <Fragment key={number}>
              <TableRow hover onClick={() => setOpen(open === number ? null : number)} sx={{ cursor: 'pointer' }}>
                <TableCell sx={{ whiteSpace: 'nowrap', fontFamily: 'monospace' }}>
                  {line.time.replace('T', ' ').slice(0, 23)}
                </TableCell>
                <TableCell sx={{ color: COLORS[line.level] }}>{line.level}</TableCell>
                <TableCell sx={{ whiteSpace: 'nowrap' }}>{line.service}</TableCell>
                <TableCell sx={{ overflowWrap: 'anywhere' }}>{line.message}</TableCell>
                <TableCell sx={{ whiteSpace: 'nowrap' }} onClick={(event) => event.stopPropagation()}>
                  {line.trace && (
                    <>
                      <Button size="small" sx={{ fontFamily: 'monospace', textTransform: 'none', p: 0 }}
                        title="All lines of this trace" onClick={() => onTrace(line.trace)}>
                        {line.trace.slice(0, 8)}…
                      </Button>
                      <Button size="small" sx={{ textTransform: 'none', p: 0 }} title="Its spans, if it was sampled"
                        component={Link} to={`/traces/${line.trace}`}>
                        spans
                      </Button>
                    </>
                  )}
                </TableCell>
              </TableRow>
              {open === number && (
                <TableRow>
                  <TableCell colSpan={5}>
                    <Box component="pre" sx={{ m: 0, whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }}>
                      {Object.entries(line.fields).map(([name, value]) => `${name}: ${value}`).join('\n')}
                    </Box>
                  </TableCell>
                </TableRow>
              )}
            </Fragment>
          ))}
        </TableBody>
      </Table>
    </>
  );
}
