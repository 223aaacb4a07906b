// Perses' plugins, bundled: nothing is fetched from anywhere else while the page is looked at.
import { dynamicImportPluginLoader } from '@perses-dev/plugin-system';
import * as prometheus from '@perses-dev/prometheus-plugin';
import * as stat from '@perses-dev/stat-chart-plugin';
import * as table from '@perses-dev/table-plugin';
import * as lines from '@perses-dev/timeseries-chart-plugin';

export const loader = dynamicImportPluginLoader(
  [prometheus, stat, table, lines].map((plugin) => ({
    resource: plugin.getPluginModule(),
    importPlugin: () => Promise.resolve(plugin),
  })),
);
