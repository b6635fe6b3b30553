"""What must go: `holdings` reads what the company says it holds, `import_list` brings it into the warehouse.

`plan` lists the files of what must go, `purge` deletes them with receipts, `holds` keeps exceptions.
"""
