// kubernetes.mjs FILE: writes what `kubernetes.py --print` printed as TypeScript, for tsc to hold
// against the types of the API: literals, in which a member that a type does not have is an error.
import { readFileSync } from 'node:fs';

const groups = { v1: 'core/v1' };
const lines = [];
const built = JSON.parse(readFileSync(process.argv[2], 'utf8'));
for (const [folder, documents] of Object.entries(built)) {
  documents.forEach((document, index) => {
    const { apiVersion, kind } = document;
    if (apiVersion.startsWith('monitoring.coreos.com/')) return; // no type of Kubernetes itself
    const group = groups[apiVersion] ?? apiVersion.replace('.k8s.io/', '/');
    lines.push(
      `import type { ${kind} as ${kind}_${folder}_${index} } from 'kubernetes-types/${group}';`,
      `export const ${folder}_${index}: ${kind}_${folder}_${index} = ${JSON.stringify(document)};`,
    );
  });
}
process.stdout.write(lines.join('\n') + '\n');
