import { Alert, Box, Typography } from '@mui/material';
import { useQuery } from '@tanstack/react-query';
import { ViewDashboard } from '@perses-dev/dashboards';
import { RouterProvider } from '@perses-dev/plugin-system';
import { Link, useNavigate, useParams } from 'react-router-dom';
import { ask } from './answers.js';

// What is changed here could be saved nowhere: dashboards are made from k8s/dashboards.
const WITHOUT_EDITING = { '& .MuiStack-root > .MuiButton-root:has(> .MuiButton-startIcon)': { display: 'none' } };

/** One dashboard, to be looked at only. */
export function Dashboard() {
  const { name } = useParams();
  const navigate = useNavigate();
  const dashboard = useQuery(['dashboard', name], () => ask(`dashboards/${name}.json`));
  const settings = useQuery(['pages'], () => ask('pages.json'));
  const error = dashboard.error ?? settings.error;
  if (error) return <Alert severity="error" sx={{ m: 2 }}>{error.message}</Alert>;
  if (!dashboard.data || !settings.data) return null;
  return (
    <RouterProvider RouterComponent={Link} navigate={navigate}>
      <Box sx={{ height: '100%', ...WITHOUT_EDITING }} data-dashboard={name}>
        <ViewDashboard
          key={name}
          dashboardResource={dashboard.data}
          datasourceApi={sources(settings.data.scrapeInterval)}
          isReadonly
          dashboardTitleComponent={<Title {...dashboard.data.spec.display} />}
          isVariableEnabled={false}
          isDatasourceEnabled={false}
        />
      </Box>
    </RouterProvider>
  );
}

function Title({ name, description }) {
  return (
    <Box>
      <Typography variant="h2">{name}</Typography>
      <Typography variant="body2">{description}</Typography>
    </Box>
  );
}

const kept = new Map();

/** Prometheus, through the page's own server. Without how often it asks, lines would become spikes. */
function sources(scrapeInterval) {
  if (!kept.has(scrapeInterval)) {
    const prometheus = {
      kind: 'GlobalDatasource',
      metadata: { name: 'prometheus' },
      spec: {
        default: true,
        plugin: {
          kind: 'PrometheusDatasource',
          spec: { directUrl: `${location.origin}/dash/prometheus`, scrapeInterval },
        },
      },
    };
    kept.set(scrapeInterval, {
      getDatasource: async () => undefined,
      getGlobalDatasource: async () => prometheus,
      listDatasources: async () => [],
      listGlobalDatasources: async () => [prometheus],
    });
  }
  return kept.get(scrapeInterval);
}
