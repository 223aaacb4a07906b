import { createRoot } from 'react-dom/client';
import { CssBaseline, ThemeProvider } from '@mui/material';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { ChartsProvider, SnackbarProvider, generateChartsTheme, getTheme } from '@perses-dev/components';
import { PluginRegistry } from '@perses-dev/plugin-system';
import { BrowserRouter, Navigate, Route, Routes } from 'react-router-dom';
import { QueryParamProvider } from 'use-query-params';
import { ReactRouter6Adapter } from 'use-query-params/adapters/react-router-6';
import { Alerts } from './Alerts.jsx';
import { Dashboard } from './Dashboard.jsx';
import { Frame } from './Frame.jsx';
import { Logs } from './Logs.jsx';
import { Trace, Traces } from './Traces.jsx';
import { loader } from './plugins.js';

const dark = window.matchMedia('(prefers-color-scheme: dark)').matches;
const theme = getTheme(dark ? 'dark' : 'light');
const charts = generateChartsTheme(theme, {});
// `always`: a machine without a network still has its own mesh.
const queries = new QueryClient({
  defaultOptions: { queries: { networkMode: 'always', refetchOnWindowFocus: false, retry: false } },
});
const usual = { Panel: 'TimeSeriesChart', TimeSeriesQuery: 'PrometheusTimeSeriesQuery' };

createRoot(document.getElementById('root')).render(
  <BrowserRouter basename="/dash">
    <QueryParamProvider adapter={ReactRouter6Adapter}>
      <ThemeProvider theme={theme}>
        <CssBaseline />
        <ChartsProvider chartsTheme={charts} enablePinning={false}>
          <SnackbarProvider>
            <QueryClientProvider client={queries}>
              <PluginRegistry pluginLoader={loader} defaultPluginKinds={usual}>
                <Frame>
                  <Routes>
                    <Route path="/" element={<Navigate to="/overview" replace />} />
                    <Route path="/alerts" element={<Alerts />} />
                    <Route path="/logs" element={<Logs />} />
                    <Route path="/traces" element={<Traces />} />
                    <Route path="/traces/:id" element={<Trace />} />
                    <Route path="/:name" element={<Dashboard />} />
                  </Routes>
                </Frame>
              </PluginRegistry>
            </QueryClientProvider>
          </SnackbarProvider>
        </ChartsProvider>
      </ThemeProvider>
    </QueryParamProvider>
  </BrowserRouter>,
);
