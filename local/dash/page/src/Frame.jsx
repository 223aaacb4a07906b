import { Alert, AppBar, Box, Button, Toolbar, Typography } from '@mui/material';
import { useQuery } from '@tanstack/react-query';
import { NavLink } from 'react-router-dom';
import { ask } from './answers.js';

/** The bar with all pages, above the one that is open. */
export function Frame({ children }) {
  const { data, error } = useQuery(['pages'], () => ask('pages.json'));
  return (
    <Box sx={{ display: 'flex', flexDirection: 'column', height: '100%' }}>
      <AppBar position="static" color="default" elevation={0} sx={{ borderBottom: 1, borderColor: 'divider' }}>
        <Toolbar variant="dense" sx={{ gap: 0.5, flexWrap: 'wrap' }}>
          <Typography variant="h2" component="h1" sx={{ mr: 2 }}>Marquee</Typography>
          {(data?.pages ?? []).map(({ name, title }) => (
            <Button
              key={name}
              size="small"
              color="inherit"
              component={NavLink}
              to={`/${name}`}
              sx={{ textTransform: 'none', '&.active': { fontWeight: 'bold', color: 'primary.main' } }}
            >
              {title}
            </Button>
          ))}
        </Toolbar>
      </AppBar>
      {error && <Alert severity="error">{error.message}</Alert>}
      <Box sx={{ flexGrow: 1, minHeight: 0, overflow: 'auto' }}>{children}</Box>
    </Box>
  );
}
