import { defineConfig } from 'vite';

// The same bytes from the same sources, on every machine: scripts/check-web builds again and compares.
export default defineConfig({
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact', legalComments: 'none' },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0, // a data: URL would need a laxer policy
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { '/v1': 'http://127.0.0.1:8420' } },
});
