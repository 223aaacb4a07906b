declare module "swagger-ui-dist/swagger-ui-es-bundle.js" {
  // It comes without types.
  const SwaggerUI: (options: Record<string, unknown>) => any;
  export default SwaggerUI;
}
