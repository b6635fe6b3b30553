"""What must go: `holdings` reads what the company says it holds, `import_list` brings it into the warehouse."""
