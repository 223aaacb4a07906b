import { defineConfig } from 'vite';

export default defineConfig({
  base: '/dash/',
  build: {
    target: 'es2022',
    chunkSizeWarningLimit: 6000,
    rollupOptions: {
      // Hundreds of lines about what its packages say to other bundlers.
      onwarn: (warning, warn) => {
        if (!['MODULE_LEVEL_DIRECTIVE', 'INVALID_ANNOTATION'].includes(warning.code)) warn(warning);
      },
    },
  },
  esbuild: { jsx: 'automatic' },
  // Some of Perses' dependencies ask for what Node has and browsers have not.
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
});
