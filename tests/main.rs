mod engine;
mod oracle;
